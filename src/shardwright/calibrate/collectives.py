"""Collectives inside one node or rack: what the tables measured, and how their laws are fitted.

message_size counts elements, of the whole buffer (of a gather, the gathered one), as nccl-tests does. An
engine's own table holds what the engine chooses at each size: beyond its switch point those are NCCL's times
again. Source of the layout: aiconfigurator-core 0.12.0, systems/data/<gpu>/comm.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardwright.calibrate.fit import Kind, Parameter
from shardwright.calibrate.rows import Rows, shape_numbers
from shardwright.calibrate.tables import read_parquet, tables, version_order
from shardwright.cluster.catalog import find_link
from shardwright.cluster.device import Device
from shardwright.cost.collectives import (
    Collective,
    CollectiveLaw,
    collective_features,
    collective_form_seconds,
    passed_bytes,
)
from shardwright.cost.residual import Axis
from shardwright.engine.catalog import ENGINES
from shardwright.errors import InputError
from shardwright.record import Size
from shardwright.steps.operation import AllReduce, Communication, Exchange, Gather

NAMES: dict[str, Collective] = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}
"""What the tables call a collective -> what we do."""

BYTES = 2
"""Of an element of the rows that are read: 16 bits. NCCL sums 8-bit integers by other algorithms."""

SLOWEST_LINK = 0.25
"""Groups whose largest payload reaches less than this share of the link's rate did not talk over that
link."""

PARAMETERS = {
    "a": Parameter(start=3, low=0, high=60),
    "b": Parameter(start=1, low=0, high=20),
    "s": Parameter(start=3, low=0, high=60),
    "e": Parameter(start=0.75, low=0.05, high=1.5),
}

AXES = (Axis(feature="bytes", knots=tuple(range(8, 31))), Axis(feature="ranks", knots=(1, 2, 3, 4)))


def collective_kind(rows: Rows[Communication]) -> Kind[CollectiveLaw, Communication]:
    """How the rows of one collective are fitted."""
    collective = collective_of(rows.operation)
    return Kind(
        law=CollectiveLaw,
        form_seconds=_form_seconds,
        features=_features,
        parameters=PARAMETERS,
        axes=AXES,
        scale="bytes",
        edges=(2.0**18, 2.0**24),
        stated={
            "collective": collective,
            "library": "nccl" if rows.kernel.startswith("NCCL") else "engine",
        },
    )


def collective_rows(gpu: Path, device: Device) -> Iterator[Rows[Communication]]:
    """The rows of each of NCCL's collectives, and of each engine's own sum."""
    yield from _library_rows(gpu, device)
    yield from _engine_rows(gpu, device)


def collective_of(operation: Communication) -> Collective:
    """Which collective an operation is inside a node."""
    if isinstance(operation, AllReduce):
        return "all_reduce"
    if isinstance(operation, Gather):
        return "reduce_scatter" if operation.reduces else "all_gather"
    return "all_to_all"


def _library_rows(gpu: Path, device: Device) -> Iterator[Rows[Communication]]:
    """Of the newest version, all runs of it: each shape takes the median of its runs."""
    names = ("version", "op_name", "nccl_dtype", "num_gpus", "message_size", "latency")
    runs = []
    for file in (gpu / "comm" / "nccl").glob("*/nccl_perf.parquet"):
        try:
            runs.append(read_parquet(file, set(names)))
        except InputError:
            continue  # An older layout, which does not say its version and has no all-reduce.
    if not runs:
        return
    columns = {name: np.concatenate([run[name] for run in runs]) for name in names}
    newest = max(set(columns["version"].tolist()), key=version_order)
    for name, collective in NAMES.items():
        here = (columns["version"] == newest) & (columns["op_name"] == name)
        wide = columns["nccl_dtype"] == "half"
        num_bytes, ranks, seconds = _medians(
            columns["message_size"][here & wide].astype(float) * BYTES,
            columns["num_gpus"][here & wide].astype(float),
            columns["latency"][here & wide].astype(float) * 1e-3,
        )
        rows = Rows(
            kernels="trtllm",
            version=newest,
            kernel=f"NCCL {name}",
            format="bf16",
            operation=_operation(collective, ranks, num_bytes),
            seconds=seconds,
            shapes=shape_numbers(num_bytes),
            excluded={"8-bit integers": int(np.count_nonzero(here & ~wide))},
        )
        yield rows.without(_wrong(rows, device))


def _engine_rows(gpu: Path, device: Device) -> Iterator[Rows[Communication]]:
    """Of runs in a CUDA graph, as engines decode; sglang 0.5.6 lists TensorRT-LLM's rows, which a newer one
    has."""
    names = ("num_gpus", "message_size", "latency", "kernel_source")
    for table in tables(gpu, "comm", "custom_allreduce_perf", names, by=("allreduce_dtype",)):
        if table.key != ("bfloat16",):
            continue
        eager = np.char.find(table.columns["kernel_source"].astype(str), "eager") >= 0
        graph = table.where(~eager)
        ranks, elements, latency_ms = graph.numbers("num_gpus", "message_size", "latency")
        num_bytes = elements * BYTES
        rows = Rows(
            kernels=table.engine,
            version=table.version,
            kernel=graph.words("kernel_source"),
            format="bf16",
            operation=_operation("all_reduce", ranks, num_bytes),
            seconds=latency_ms * 1e-3,
            shapes=shape_numbers(num_bytes),
            excluded={"launched one by one, not from a graph": count} if (count := int(eager.sum())) else {},
        )
        own = ENGINES[table.engine].own_sums
        assert own is not None
        joined = device.scale_up_gpus if own.across_nodes else device.node_gpus
        rules = {
            "more GPUs than a node: the engine leaves the sum to NCCL": ranks > max(joined, 2),
            "beyond the switch point: the engine leaves the sum to NCCL": num_bytes
            > own.largest_bytes(device, ranks),
        }
        yield rows.without(rules | _wrong(rows, device))


def _wrong(rows: Rows[Communication], device: Device) -> dict[str, NDArray[np.bool_]]:
    """All rows of a number of GPUs that did not talk over the device's link."""
    ranks, num_bytes = _sizes(rows.operation)
    rate = find_link(device.scale_up_link).bandwidth_bytes_per_s
    passed = passed_bytes(collective_of(rows.operation), ranks, num_bytes)
    slow = np.zeros(len(rows), dtype=bool)
    for count in np.unique(ranks):
        here = ranks == count
        largest = here & (num_bytes == np.max(num_bytes[here]))
        slow |= here & (np.min((passed / rows.seconds)[largest]) < SLOWEST_LINK * rate)
    return {f"under {SLOWEST_LINK:.0%} of the link's rate: these GPUs did not reach each other by it": slow}


def _operation(collective: Collective, ranks: NDArray[np.float64], num_bytes: Size) -> Communication:
    match collective:
        case "all_reduce":
            return AllReduce(name="", axis="tp", num_ranks=ranks, payload_bytes=num_bytes)
        case "all_to_all":
            return Exchange(
                name="", axis="ep", num_ranks=ranks, payload_bytes=num_bytes, remote=1 - 1 / ranks
            )
    return Gather(
        name="", axis="tp", num_ranks=ranks, payload_bytes=num_bytes, reduces=collective == "reduce_scatter"
    )


def _medians(
    num_bytes: NDArray[np.float64], ranks: NDArray[np.float64], seconds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(bytes, ranks, seconds), one of each shape."""
    shapes, which = np.unique(np.stack((num_bytes, ranks)), axis=1, return_inverse=True)
    middle = [np.median(seconds[which.ravel() == shape]) for shape in range(shapes.shape[1])]
    return shapes[0], shapes[1], np.array(middle)


def _sizes(operation: Communication) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.asarray(operation.num_ranks, dtype=float), np.asarray(operation.payload_bytes, dtype=float)


def _form_seconds(operation: Communication, device: Device, law: CollectiveLaw) -> Size:
    link = find_link(device.scale_up_link)
    return collective_form_seconds(law, link, operation.num_ranks, operation.payload_bytes)


def _features(operation: Communication) -> dict[str, Size]:
    return collective_features(operation.num_ranks, operation.payload_bytes)
