"""Attention: what the tables measured of decode and of prefill, and how their laws are fitted.

Rows are bf16 queries against a KV cache in bf16 or fp8; every sequence has the same length. num_heads are
those of a rank (of MLA too: num_heads x tp_size are the heads of a model). A window of 0 is none.
Source of the layout: aiconfigurator-core 0.12.0, systems/data/<gpu>/attention and mla.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardwright.calibrate.fit import Kind, Parameter
from shardwright.calibrate.gemm import STORED
from shardwright.calibrate.rows import Rows, shape_numbers
from shardwright.calibrate.tables import FORMATS, THIN, Table, tables
from shardwright.cluster.device import Device
from shardwright.cost.decode import DecodeLaw, decode_features, measured_decode_seconds
from shardwright.cost.prefill import PrefillLaw, prefill_features, prefill_form_seconds
from shardwright.cost.residual import Axis
from shardwright.engine.engine import Kernels
from shardwright.model.dtype import BITS
from shardwright.record import Size
from shardwright.steps.operation import Attention, Phase

LATENT, ROTARY, PLAIN, VALUE = 512, 64, 128, 128
"""DeepSeek-V3, whose MLA the tables measured: kv_lora_rank, qk_rope_head_dim, qk_nope_head_dim, v_head_dim
(https://huggingface.co/deepseek-ai/DeepSeek-V3, config.json)."""

ABSORBING = ("flash_attention", "triton")
"""SGLang's kernels of context_mla that ran a prompt against the latent KV: taken for the expanded form, they
would reach 0.06 to 0.18 of the peak, where TensorRT-LLM's reach 0.4 to 0.6."""

NO_WINDOW = 2**30

COLUMNS = ("batch_size", "isl", "step", "num_heads", "latency", "kernel_source")
PLAIN_COLUMNS = ("num_key_value_heads", "head_dim", "window_size")

DECODE = {
    "t0": Parameter(start=8, low=0, high=60),
    "wave": Parameter(start=3, low=0, high=40),
    "group_wave": Parameter(start=0.02, low=0, high=10),
    "em": Parameter(start=0.9, low=0.03, high=1),
    "ec": Parameter(start=0.7, low=0.03, high=20),
    "walk": Parameter(start=0.4, low=0, high=10),
    "power": Parameter(start=3, low=1, high=8),
    "cache_mb": Parameter(start=50, low=10, high=200),
    "hot": Parameter(start=0.5, low=0.05, high=1),
}

DECODE_AXES = (
    Axis(feature="tiles", knots=(-2, 0, 1, 2, 4, 6, 8, 10)),
    Axis(feature="blocks", knots=(0, 4, 6, 7, 8, 9, 11, 14)),
    Axis(feature="group", knots=(0, 1, 2, 4, 5, 6, 7)),
)

PREFILL = {
    "t0": Parameter(start=12, low=0, high=300),
    "ec": Parameter(start=0.6, low=0.02, high=2),
    "em": Parameter(start=0.6, low=0.05, high=1.2),
    "ew": Parameter(start=0.5, low=0.02, high=20),
    "tail": Parameter(start=1, low=0.05, high=20),
    "power": Parameter(start=3, low=1, high=8),
}

PREFILL_AXES = (
    Axis(feature="seen", knots=(0, 3, 6, 8, 10, 13)),
    Axis(feature="blocks", knots=(0, 4, 6, 8, 9, 11, 15)),
    Axis(feature="windowed", knots=(0, 1)),
    Axis(feature="group", knots=(0, 1, 3, 5)),
)


def decode_kind(rows: Rows[Attention]) -> Kind[DecodeLaw, Attention]:
    """How rows of one kernel are fitted."""
    features = decode_features(rows.operation)
    return Kind(
        law=DecodeLaw,
        form_seconds=measured_decode_seconds,
        features=decode_features,
        parameters=DECODE,
        axes=_axes(DECODE_AXES, features),
        scale="kv_bytes",
        edges=(4e6, 30e6, 100e6),
        stated={"latent": rows.operation.latent, "head_dims": _values(features["head_dim"])},
    )


def prefill_kind(rows: Rows[Attention]) -> Kind[PrefillLaw, Attention]:
    """How rows of one kernel are fitted."""
    features = prefill_features(rows.operation)
    return Kind(
        law=PrefillLaw,
        form_seconds=prefill_form_seconds,
        features=prefill_features,
        parameters=PREFILL,
        axes=_axes(PREFILL_AXES, features),
        scale="query_tokens",
        edges=(128, 512, 2047),
        stated={"latent": rows.operation.latent, "head_dims": _values(features["head_dim"])},
    )


def like_attention(law: DecodeLaw | PrefillLaw, rows: Rows[Attention]) -> bool:
    """Whether both are of MLA or neither is, and have a head size in common."""
    sizes = _values(rows.operation.head_dim)
    return law.latent == rows.operation.latent and not set(law.head_dims).isdisjoint(sizes)


def _axes(axes: tuple[Axis, ...], features: dict[str, Size]) -> tuple[Axis, ...]:
    """One more, of the head sizes measured. Knots that no row comes near are left out, and axes of one."""
    near = [_near(axis, np.log2(np.asarray(features[axis.feature], float))) for axis in axes]
    sizes = tuple(float(f"{np.log2(size):.3f}") for size in _values(features["head_dim"]))
    found = (*near, ("head_dim", sizes))
    return tuple(Axis(feature=feature, knots=knots) for feature, knots in found if len(knots) > 1)


def _near(axis: Axis, values: NDArray[np.float64]) -> tuple[str, tuple[float, ...]]:
    """The axis from the last knot below all values to the first one above."""
    knots = np.array(axis.knots)
    below = np.searchsorted(knots, values, side="right") - 1
    above = np.searchsorted(knots, values, side="left")
    first, last = below.min(initial=len(knots)), above.max(initial=0)
    return axis.feature, axis.knots[max(first, 0) : last + 1]


def _values(column: Size) -> tuple[float, ...]:
    return tuple(np.unique(np.asarray(column, dtype=float)).tolist())


def decode_rows(gpu: Path, device: Device) -> Iterator[Rows[Attention]]:
    """The rows of each engine, kernel and format of the KV cache."""
    for table in _tables(gpu, "attention", "generation_attention_perf", *PLAIN_COLUMNS):
        yield from _by_kernel(table, _plain_attention(table, "decode"))
    for table in _tables(gpu, "mla", "generation_mla_perf"):
        yield from _by_kernel(table, _latent_attention(table))


def prefill_rows(gpu: Path, device: Device) -> Iterator[Rows[Attention]]:
    """The rows of each engine, kernel and format of the KV cache."""
    for table in _tables(gpu, "attention", "context_attention_perf", *PLAIN_COLUMNS):
        yield from _by_kernel(table, _plain_attention(table, "prefill"))
    for table in _tables(gpu, "mla", "context_mla_perf"):
        yield from _by_kernel(table, _expanded_attention(table))


def _tables(gpu: Path, family: str, name: str, *columns: str) -> Iterator[Table]:
    """One for each engine and format of the KV cache: of queries in bf16 if the engine has them."""
    operands = "mla_dtype" if family == "mla" else "attn_dtype"
    found: dict[tuple[Kernels, str], Table] = {}
    for table in tables(
        gpu,
        family,
        name,
        (*COLUMNS, *columns),
        by=("kv_cache_dtype", operands),
        lacking={"window_size": 0},
    ):
        held = found.setdefault((table.engine, table.key[0]), table)
        if len(held) < THIN * len(table):
            found[table.engine, table.key[0]] = table
    yield from found.values()


def _plain_attention(table: Table, phase: Phase) -> Attention:
    heads, kv_heads, size, window = table.numbers("num_heads", *PLAIN_COLUMNS)
    batch, step, new = table.numbers("batch_size", "step", "isl")
    window = np.where(window > 0, window, NO_WINDOW)
    kv_dtype = STORED[FORMATS[table.key[0]]]
    return Attention(
        name="",
        phase=phase,
        sequences=batch,
        query_tokens=new,
        context=np.minimum(step + new, window + new - 1),
        heads=heads,
        kv_heads=kv_heads,
        qk_dim=size,
        v_dim=size,
        row_bytes=kv_heads * 2 * size * BITS[kv_dtype] / 8,
        kv_dtype=kv_dtype,
        window=window,
    )


def _latent_attention(table: Table) -> Attention:
    """Decode: the up-projections absorbed, one KV stream for all heads."""
    heads, batch, step, new = table.numbers("num_heads", "batch_size", "step", "isl")
    kv_dtype = STORED[FORMATS[table.key[0]]]
    return Attention(
        name="",
        phase="decode",
        sequences=batch,
        query_tokens=new,
        context=step + new,
        heads=heads,
        kv_heads=np.ones_like(heads),
        qk_dim=LATENT + ROTARY,
        v_dim=LATENT,
        row_bytes=(LATENT + ROTARY) * BITS[kv_dtype] / 8,
        kv_dtype=kv_dtype,
        latent=True,
    )


def _expanded_attention(table: Table) -> Attention:
    """Prefill: keys and values expanded, those of every head its own."""
    heads, batch, step, new = table.numbers("num_heads", "batch_size", "step", "isl")
    kv_dtype = STORED[FORMATS[table.key[0]]]
    return Attention(
        name="",
        phase="prefill",
        sequences=batch,
        query_tokens=new,
        context=step + new,
        heads=heads,
        kv_heads=heads,
        qk_dim=PLAIN + ROTARY,
        v_dim=VALUE,
        row_bytes=(LATENT + ROTARY) * BITS[kv_dtype] / 8,
        kv_dtype=kv_dtype,
        latent=True,
    )


def _by_kernel(table: Table, operation: Attention) -> Iterator[Rows[Attention]]:
    """The rows of each kernel, at the head sizes of which it runs most shapes.

    A shape is heads, KV heads, head size and window; of MLA, whose head counts were all measured, heads and
    sequences.
    """
    (latency_ms,) = table.numbers("latency")
    kernels = table.columns["kernel_source"].astype(str)
    told = operation.sequences if operation.window is None else operation.window
    shape = (operation.heads, operation.kv_heads, operation.head_dim, told)
    columns = [np.broadcast_to(np.asarray(column, float), latency_ms.shape) for column in shape]
    wrong = _wrong(table, operation)
    for kernel, usual in _usual(kernels, columns[2]).items():
        rows = Rows(
            kernels=table.engine,
            version=table.version,
            kernel=kernel,
            format=FORMATS[table.key[0]],
            operation=operation,
            seconds=latency_ms * 1e-3,
            shapes=shape_numbers(*columns),
        )
        unusual = {"most shapes of this head size run on another kernel": kernels != kernel}
        some = {reason: applies[usual] for reason, applies in (unusual | wrong).items()}
        yield rows.where(usual).without(some)


def _usual(kernels: NDArray[np.str_], head_dim: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Kernel -> the rows of those head sizes of which it runs most."""
    usual: dict[str, NDArray[np.bool_]] = {}
    for size in np.unique(head_dim):
        at = head_dim == size
        kernel = Counter(kernels[at].tolist()).most_common(1)[0][0]
        usual[kernel] = usual.get(kernel, np.zeros_like(at)) | at
    return usual


def _wrong(table: Table, operation: Attention) -> dict[str, NDArray[np.bool_]]:
    if operation.phase == "prefill":
        absorbing = np.isin(table.columns["kernel_source"], ABSORBING)
        return {"a prompt against the latent KV: models expand it": absorbing & operation.latent}
    step, new = table.numbers("step", "isl")
    just_full = step + new == (0 if operation.window is None else operation.window)
    return {"a window just full: like one that hides tokens, but it hides none": just_full}
