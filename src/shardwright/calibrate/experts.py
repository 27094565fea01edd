"""Grouped experts: what the tables measured, and how their laws are fitted.

A row times the whole expert block of one rank, with the permutation of its rows; its rows and active experts
are derived (expert_rows.py), not fitted. Kernels without a gate, of two matrices, are not read.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardwright.calibrate.expert_rows import dealt
from shardwright.calibrate.fit import Kind, Parameter
from shardwright.calibrate.gemm import STORED
from shardwright.calibrate.rows import FEW_SHAPES, Rows, shape_numbers
from shardwright.calibrate.tables import FORMATS, Table, tables, version_order
from shardwright.cluster.device import Device
from shardwright.cost.experts import ExpertsLaw, experts_features, experts_form_seconds
from shardwright.cost.law import OPERANDS, Format, peak_flops
from shardwright.cost.residual import Axis
from shardwright.model.dtype import BITS
from shardwright.steps.operation import GroupedExperts

SLOWER = 1.5
"""A row that takes so many times as long as a problem no smaller in anything was disturbed, or mistuned."""

UNGATED = ((2688, 1856), (1024, 2688), (4096, 2688), (2048, 5120))
"""(hidden, width) of models whose experts have no gate (Nemotron), where no kernel's name says so."""

SCALES: dict[Format, float] = {"nvfp4": 1 / 16, "mxfp4": 0.0, "int4_wo": 2 / 128}
"""Bytes of scales beside each value, where the dtype's bits do not hold them."""

EXPERTS: Kind[ExpertsLaw, GroupedExperts] = Kind(
    law=ExpertsLaw,
    form_seconds=experts_form_seconds,
    features=experts_features,
    parameters={
        "t0": Parameter(start=15, low=0, high=200),
        "ec": Parameter(start=0.6, low=0.05, high=1.2),
        "em": Parameter(start=0.8, low=0.05, high=1.2),
        "ea": Parameter(start=0.4, low=0.02, high=10),
        "eo": Parameter(start=0.5, low=0.02, high=50),
        "k0": Parameter(start=100, low=0, high=3000),
        "power": Parameter(start=4, low=1.2, high=8),
    },
    axes=(
        Axis(feature="rows_each", knots=(0, 1, 2, 3, 4, 5, 6, 6.5, 7, 7.5, 8, 9, 10, 12)),
        Axis(feature="active", knots=(0, 1, 2, 3, 4, 5, 6, 7, 8)),
        Axis(feature="area", knots=(16, 18, 20, 22, 24)),
    ),
    scale="rows",
    edges=(128, 2048),
)


def experts_kind(rows: Rows[GroupedExperts]) -> Kind[ExpertsLaw, GroupedExperts]:
    """How the rows are fitted."""
    return EXPERTS


def experts_rows(gpu: Path, device: Device) -> Iterator[Rows[GroupedExperts]]:
    """The rows of each kernel, the newest first, then those with most rows: an engine's first law of a format
    is the one that it takes."""
    columns = (
        *("num_tokens", "hidden_size", "inter_size", "topk", "num_experts"),
        *("moe_tp_size", "moe_ep_size", "distribution", "latency"),
    )
    found = []
    for table in tables(gpu, "moe", "moe_perf", columns, by=("moe_dtype", "kernel_source")):
        form, kernel = FORMATS.get(table.key[0]), table.key[1]
        if form is not None and "nongated" not in kernel:
            found.append(_rows(table, form, kernel, device))
    yield from sorted(found, key=lambda rows: (version_order(rows.version), len(rows)), reverse=True)


def _rows(table: Table, form: Format, kernel: str, device: Device) -> Rows[GroupedExperts]:
    names = ("num_tokens", "topk", "hidden_size", "inter_size", "moe_tp_size", "latency")
    tokens, top_k, hidden, inter, tp, latency_ms = table.numbers(*names)
    num_rows, active = _dealt(table)
    stored = STORED[form]
    operation = GroupedExperts(
        name="",
        rows=num_rows,
        foreign_rows=np.maximum(tokens * top_k - num_rows, 0),
        active=active,
        hidden=hidden,
        width=inter / tp,
        weight_dtype=stored,
        weight_bytes=BITS[stored] / 8 + SCALES.get(form, 0.0),
    )
    rows = Rows(
        kernels=table.engine,
        version=table.version,
        kernel=kernel,
        format=form,
        operation=operation,
        seconds=latency_ms * 1e-3,
        shapes=_shapes(table),
        parts=np.where(table.columns["distribution"].astype(str) == "balanced", "balanced", "skewed"),
    )
    return rows.without(_wrong(rows, table, device))


MODEL = ("hidden_size", "inter_size", "topk", "num_experts")
SPLIT = ("moe_tp_size", "moe_ep_size")


def _shapes(table: Table) -> NDArray[np.int64]:
    """What is held out is a whole model; where there are too few, one split of a model."""
    models = shape_numbers(*table.numbers(*MODEL))
    return models if models.max() + 1 >= FEW_SHAPES else shape_numbers(*table.numbers(*MODEL, *SPLIT))


def _dealt(table: Table) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = table.numbers("num_tokens", "num_experts", "topk", "moe_ep_size")
    keys = zip(*(column.astype(int).tolist() for column in columns), strict=True)
    exponents = (_exponent(name) for name in table.columns["distribution"].tolist())
    found = [dealt(*key, exponent) for key, exponent in zip(keys, exponents, strict=True)]
    return np.array([one.rows for one in found]), np.array([one.active for one in found])


def _exponent(distribution: str) -> float | None:
    return None if distribution == "balanced" else float(distribution.removeprefix("power_law_"))


def _wrong(rows: Rows[GroupedExperts], table: Table, device: Device) -> dict[str, NDArray[np.bool_]]:
    operation = rows.operation
    hidden, inter, tokens = table.numbers("hidden_size", "inter_size", "num_tokens")
    peak = peak_flops(device, OPERANDS[rows.format])
    bandwidth = device.memory_bandwidth_bytes_per_s
    balanced = np.asarray(rows.parts == "balanced")
    return {
        "no gate": np.any([(hidden == h) & (inter == w) for h, w in UNGATED], axis=0),
        "no row on the rank that was timed": np.asarray(operation.rows) == 0,
        "faster than the memory: the weights lay in the cache": balanced
        & (rows.seconds < operation.moved_weight_bytes / bandwidth),
        "faster than the data sheet's peak": balanced & (rows.seconds < operation.flops / peak),
        f"{SLOWER} times slower than a problem no smaller in anything": beaten(
            rows.seconds,
            shape_numbers(tokens, balanced.astype(float)),
            np.stack([operation.rows, operation.active, operation.hidden, operation.width], axis=1),
        ),
    }


def beaten(
    seconds: NDArray[np.float64], group: NDArray[np.int64], sizes: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Rows that take SLOWER times as long as another of their group that is no smaller in any size."""
    found = np.zeros(len(seconds), dtype=bool)
    for number in np.unique(group):
        own = np.flatnonzero(group == number)
        at_least = np.all(sizes[own][None, :, :] >= sizes[own][:, None, :] * 0.999, axis=2)
        quickest = np.where(at_least, seconds[own][None, :], np.inf).min(axis=1)
        found[own] = seconds[own] > SLOWER * quickest
    return found
