"""GEMM: what the tables measured, and how its laws are fitted.

Rows have bf16 activations in and out; those of narrow operands include the quantisation of the activations.
Source of the layout: aiconfigurator-core 0.12.0, systems/data/<gpu>/gemm and mla_bmm.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from shardwright.calibrate.fit import Kind, Parameter
from shardwright.calibrate.rows import Rows, shape_numbers
from shardwright.calibrate.tables import FORMATS, tables
from shardwright.cluster.device import Device
from shardwright.cost.gemm import GemmLaw, gemm_features, gemm_form_seconds
from shardwright.cost.law import OPERANDS, Format, peak_flops
from shardwright.cost.residual import Axis
from shardwright.model.dtype import BITS, Dtype
from shardwright.steps.operation import Gemm

STORED: dict[Format, Dtype] = {
    "bf16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8",
    "int8_wo": "int8",
    "int4_wo": "int4",
    "mxfp4_wo": "mxfp4",
    "mxfp4": "mxfp4",
    "nvfp4": "fp4",
}
"""How the weights of a format are stored."""

LAUNCH_BOUND_S = 30e-6
"""A kernel starts in under 10 us: where the quickest rows of a table take longer than this, its host was
timed, and no row of the table tells what the kernel takes."""

SMALL = {
    "t0": Parameter(start=4, low=0, high=60),
    "ec": Parameter(start=0.8, low=0.05, high=1.2),
    "em": Parameter(start=0.85, low=0.05, high=1.2),
    "k0": Parameter(start=150, low=0, high=4000),
    "power": Parameter(start=3, low=1.2, high=8),
}

AXES = (
    Axis(feature="m", knots=(0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15)),
    Axis(feature="n", knots=(5, 6.5, 8, 9.5, 11, 12.5, 14, 16)),
    Axis(feature="k", knots=(5, 6.5, 8, 9.5, 11, 12.5, 14, 16)),
)

PLAIN = Kind(
    law=GemmLaw,
    form_seconds=gemm_form_seconds,
    features=gemm_features,
    parameters=SMALL,
    axes=AXES,
    scale="m",
    edges=(128, 1024),
)

QUANTISING = Kind(
    law=GemmLaw,
    form_seconds=gemm_form_seconds,
    features=gemm_features,
    parameters=SMALL | {"eq": Parameter(start=0.4, low=0.05, high=2)},
    axes=AXES,
    scale="m",
    edges=(128, 1024),
)


def gemm_kind(rows: Rows[Gemm]) -> Kind[GemmLaw, Gemm]:
    """How the rows are fitted: with the quantisation of activations where the operands are narrow."""
    return PLAIN if OPERANDS[rows.format] == "bf16" else QUANTISING


def gemm_rows(gpu: Path, device: Device) -> Iterator[Rows[Gemm]]:
    """The rows of each engine and format."""
    columns = ("m", "n", "k", "latency", "kernel_source")
    for table in tables(gpu, "gemm", "gemm_perf", columns, by=("gemm_dtype",)):
        form = FORMATS.get(table.key[0])
        if form is None:
            continue
        m, n, k, latency_ms = table.numbers("m", "n", "k", "latency")
        stored = STORED[form]
        operation = Gemm(name="", m=m, n=n, k=k, weight_dtype=stored, weight_bytes=BITS[stored] / 8)
        rows = Rows(
            kernels=table.engine,
            version=table.version,
            kernel=table.words("kernel_source"),
            format=form,
            operation=operation,
            seconds=latency_ms * 1e-3,
            shapes=shape_numbers(n, k),
        )
        yield rows.without(_wrong(rows, device))


LATENT, HEAD = 512, 128
"""DeepSeek-V3: kv_lora_rank; qk_nope_head_dim and v_head_dim
(https://huggingface.co/deepseek-ai/DeepSeek-V3, config.json)."""

BATCHED_AXES = (
    Axis(feature="m", knots=(0, 3, 5, 6, 7, 8, 9, 10, 12, 14)),
    Axis(feature="batch", knots=(0, 2, 3, 4, 5, 6, 7)),
    Axis(feature="k", knots=(7, 9)),
)


def batched_kind(rows: Rows[Gemm]) -> Kind[GemmLaw, Gemm]:
    """How the rows of a batch of GEMMs are fitted."""
    return replace(gemm_kind(rows), axes=BATCHED_AXES)


def batched_rows(gpu: Path, device: Device) -> Iterator[Rows[Gemm]]:
    """The up-projections that MLA absorbs in decode, a GEMM a head: of keys (pre) and of values (post)."""
    columns = ("num_tokens", "num_heads", "op_name", "latency", "kernel_source")
    for table in tables(gpu, "mla_bmm", "mla_bmm_perf", columns, by=("bmm_dtype",)):
        form = FORMATS[table.key[0]]
        tokens, heads, latency_ms = table.numbers("num_tokens", "num_heads", "latency")
        keys = table.columns["op_name"] == "mla_gen_pre"
        k = np.where(keys, float(HEAD), float(LATENT))
        stored = STORED[form]
        operation = Gemm(
            name="",
            m=tokens,
            n=np.where(keys, float(LATENT), float(HEAD)),
            k=k,
            weight_dtype=stored,
            weight_bytes=BITS[stored] / 8,
            batch=heads,
        )
        yield Rows(
            kernels=table.engine,
            version=table.version,
            kernel=table.words("kernel_source"),
            format=form,
            operation=operation,
            seconds=latency_ms * 1e-3,
            shapes=shape_numbers(heads, k),
        )


def _wrong(rows: Rows[Gemm], device: Device) -> dict[str, np.ndarray]:
    operation, quickest_s = rows.operation, float(np.percentile(rows.seconds, 2))
    peak = peak_flops(device, OPERANDS[rows.format])
    weights_s = operation.n * operation.k * operation.weight_bytes / device.memory_bandwidth_bytes_per_s
    return {
        "the host's launch was timed, not the kernel": np.full(len(rows), quickest_s > LAUNCH_BOUND_S),
        "faster than the memory: the weights lay in the cache": rows.seconds < weights_s,
        "faster than the data sheet's peak": rows.seconds < operation.flops / peak,
    }
