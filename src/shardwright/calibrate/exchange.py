"""DeepEP's dispatch and combine: what the tables measured, and how their laws are fitted.

Times are microseconds; num_token counts the tokens of one rank. Dispatch is in fp8, combine in 16 bits. As
DeepEP's own tests do, tokens choose experts at random, of nodes without a limit up to four of them. Source of
the layout: aiconfigurator-core 0.12.0, systems/data/<gpu>/comm, wideep_deepep_normal and _ll.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardwright.calibrate.fit import Kind, Parameter
from shardwright.calibrate.rows import Rows, shape_numbers
from shardwright.calibrate.tables import Table, tables
from shardwright.cluster.catalog import build_cluster
from shardwright.cluster.device import Device
from shardwright.cost.exchange import (
    ExchangeLaw,
    Leaving,
    exchange_features,
    exchange_form_seconds,
    leaving,
)
from shardwright.cost.residual import Axis
from shardwright.record import Size
from shardwright.steps.exchange import SCALED
from shardwright.steps.operation import Exchange, ExchangeKernel
from shardwright.steps.spread import Spread

NUM_SMS = 24
"""Of the normal kernels, as DeepEP's makers publish them (docs/legacy.md)."""


INSIDE = {
    "t0": Parameter(start=20, low=0, high=200),
    "near": Parameter(start=0.5, low=0.05, high=1.2),
}
BETWEEN = {
    "hop": Parameter(start=10, low=0, high=100),
    "far": Parameter(start=0.9, low=0.05, high=1.2),
}
OF_H100: dict[ExchangeKernel, dict[str, float]] = {
    "low_latency": {"hop": 6.3, "far": 0.92},
    "normal": {"hop": 39, "far": 0.89},
}
"""Between nodes as H100's tables have it, both ways alike, for devices that were measured on one node
only."""

BYTES_AND_NODES = (
    Axis(feature="bytes", knots=tuple(range(11, 33, 2))),
    Axis(feature="nodes", knots=(0, 1, 2, 3)),
)
AXES: dict[ExchangeKernel, tuple[Axis, ...]] = {
    "normal": (
        *BYTES_AND_NODES,
        Axis(feature="copies", knots=(0, 1.5, 3)),
        Axis(feature="row", knots=(11, 12.5, 14)),
    ),
    "low_latency": (*BYTES_AND_NODES, Axis(feature="experts", knots=(3, 5, 7, 9))),
}
"""SMs that copy rows take time for each row too; the low-latency kernels wait for each expert's count."""


def exchange_kind(rows: Rows[Leaving]) -> Kind[ExchangeLaw, Leaving]:
    """How the rows of one kernel in one direction are fitted."""
    kernel: ExchangeKernel = "normal" if rows.kernel.startswith("normal") else "low_latency"
    stated = {"exchange": kernel, "combines": rows.kernel.endswith("combine")}
    parameters = INSIDE
    if np.max(rows.operation.nodes) > 1:
        parameters = INSIDE | BETWEEN
    else:
        stated |= OF_H100[kernel]
    return Kind(
        law=ExchangeLaw,
        form_seconds=_form_seconds,
        features=exchange_features,
        parameters=parameters,
        axes=AXES[kernel],
        scale="bytes",
        edges=(2.0**20, 2.0**25),
        stated=stated,
    )


def exchange_rows(gpu: Path, device: Device) -> Iterator[Rows[Leaving]]:
    """The rows of both kernels, both ways: of each number of nodes the newest table that has it."""
    shape = ("device", "hidden_size", "num_token", "num_topk", "num_experts")
    sides = ("dispatch", "combine")
    normal = tuple(f"{side}_{part}" for side in sides for part in ("sms", "transmit_us", "notify_us"))
    quick = tuple(f"{side}_avg_t_us" for side in sides)
    for kernel, name, columns in (
        ("normal", "wideep_deepep_normal_perf", normal),
        ("low_latency", "wideep_deepep_ll_perf", quick),
    ):
        found = list(tables(gpu, "comm", name, (*shape, *columns), by=("node_num",)))
        for side in sides if found else ():
            parts = [_rows(table, kernel, side, device) for table in found]
            yield _joined([rows for rows in parts if len(rows)] or parts[:1], parts)


def _rows(table: Table, kernel: ExchangeKernel, side: str, device: Device) -> Rows[Leaving]:
    """The rows of one number of nodes."""
    nodes = int(table.key[0])
    hidden, tokens, top_k, experts = table.numbers("hidden_size", "num_token", "num_topk", "num_experts")
    foreign = np.array([device.name.split("-")[0] not in name for name in table.columns["device"]])
    rules = {"the rows of another device": foreign}
    if kernel == "normal":
        sms, transmit_us, notify_us = table.numbers(
            *(f"{side}_{part}" for part in ("sms", "transmit_us", "notify_us"))
        )
        seconds = (transmit_us + notify_us) * 1e-6
        rules["other numbers of SMs"] = sms != NUM_SMS
        rules["8 nodes: under half of what the makers publish"] = np.full(len(sms), nodes == 8)
    else:
        seconds = table.numbers(f"{side}_avg_t_us")[0] * 1e-6
    row_bytes = hidden * (SCALED if side == "dispatch" else 2.0)
    rows = Rows(
        kernels=table.engine,
        version=table.version,
        kernel=f"{kernel} {side}",
        format="bf16",
        operation=_leaving(kernel, tokens, row_bytes, top_k, experts, nodes, device),
        seconds=seconds,
        shapes=tokens.astype(np.int64),
    )
    return rows.without(rules)


def _leaving(
    kernel: ExchangeKernel,
    tokens: NDArray[np.float64],
    row_bytes: NDArray[np.float64],
    top_k: NDArray[np.float64],
    experts: NDArray[np.float64],
    nodes: int,
    device: Device,
) -> Leaving:
    """What each row puts on the links."""
    num_ranks, sizes = nodes * device.node_gpus, np.zeros((len(_SIZES), len(top_k)))
    choices = {tuple(map(int, each)) for each in zip(top_k, experts, row_bytes, strict=True)}
    for chosen, count, size in choices:
        here = (top_k == chosen) & (experts == count) & (row_bytes == size)
        spread = Spread(top_k=chosen, num_experts=count)
        rows = spread.parts_hit(num_ranks) if kernel == "normal" else spread.top_k
        sent = Exchange(
            name="",
            axis="exchange",
            num_ranks=num_ranks,
            payload_bytes=tokens[here] * rows * size,
            remote=1 - 1 / num_ranks,
            row_bytes=size,
            kernel=kernel,
            spread=spread,
        )
        each = leaving(sent, float(nodes))
        sizes[:, here] = [np.broadcast_to(getattr(each, name), here.sum()) for name in _SIZES]
    return Leaving(name="", **dict(zip(_SIZES, sizes, strict=True)))


_SIZES = ("sent_bytes", "near_bytes", "far_bytes", "nodes", "copies", "row_bytes", "num_experts")


def _joined(parts: list[Rows[Leaving]], everything: list[Rows[Leaving]]) -> Rows[Leaving]:
    """One set of rows, shapes numbered by their tokens."""
    excluded: dict[str, int] = {}
    for rows in everything:
        for reason, count in rows.excluded.items():
            excluded[reason] = excluded.get(reason, 0) + count
    sizes = {name: np.concatenate([getattr(rows.operation, name) for rows in parts]) for name in _SIZES}
    tokens = np.concatenate([rows.shapes for rows in parts])
    return replace(
        parts[0],
        version=" + ".join(dict.fromkeys(rows.version for rows in parts)),
        operation=Leaving(name="", **sizes),
        seconds=np.concatenate([rows.seconds for rows in parts]),
        shapes=shape_numbers(tokens.astype(float)),
        excluded=excluded,
    )


def _form_seconds(rows: Leaving, device: Device, law: ExchangeLaw) -> Size:
    return exchange_form_seconds(rows, build_cluster(gpu=device, nodes=8)[0], law)
