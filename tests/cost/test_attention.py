"""The laws of attention: their forms by hand, their limits, and which of them serves an operation."""

from dataclasses import replace
from math import log2
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.cluster.catalog import find_device
from shardwright.cost.attention import attention_seconds, nearest
from shardwright.cost.decode import DecodeLaw, decode_features, decode_seconds, measured_decode_seconds
from shardwright.cost.prefill import PrefillLaw, prefill_features, prefill_form_seconds, prefill_seconds
from shardwright.cost.profile import read_profile
from shardwright.cost.residual import Axis, Residual
from shardwright.engine.engine import Kernels
from shardwright.model.dtype import BITS, Dtype
from shardwright.steps.operation import Attention, Phase
from tests.samples import EXACT, cluster

H100 = cluster().device
PROFILE = read_profile("H100-SXM-80GB")
DEVICES = ("A100-SXM-80GB", "H100-SXM-80GB", "B200-SXM-180GB", "L40S-48GB")

DECODE = DecodeLaw(
    kernels="vllm",
    version="1.0",
    kernel="known",
    format="bf16",
    rows=0,
    scale="kv_bytes",
    bands=(EXACT,),
    head_dims=(128,),
    t0=10.0,
    wave=3.0,
    group_wave=0.25,
    em=0.8,
    ec=0.5,
    walk=0.5,
    power=1.0,
    cache_mb=40.0,
    hot=0.25,
)

PREFILL = PrefillLaw(
    kernels="vllm",
    version="1.0",
    kernel="known",
    format="bf16",
    rows=0,
    scale="query_tokens",
    bands=(EXACT,),
    head_dims=(128,),
    t0=10.0,
    ec=0.5,
    em=0.4,
    ew=0.2,
    tail=1.0,
    power=1.0,
)


def attention(
    phase: Phase,
    *,
    sequences: float = 1,
    context: float = 4096,
    new: float | None = None,
    heads: int = 32,
    kv_heads: int = 8,
    head_dim: int = 128,
    window: int | None = None,
    kv_dtype: Dtype = "bf16",
) -> Attention:
    """Of sequences of `context` tokens, `new` of them queries: one in decode, all in prefill."""
    queries = new if new is not None else 1 if phase == "decode" else context
    return Attention(
        name="",
        phase=phase,
        sequences=sequences,
        query_tokens=queries,
        context=context if window is None else min(context, window + queries - 1),
        heads=heads,
        kv_heads=kv_heads,
        qk_dim=head_dim,
        v_dim=head_dim,
        row_bytes=2 * kv_heads * head_dim * BITS[kv_dtype] / 8,
        kv_dtype=kv_dtype,
        window=window,
    )


def test_decode_by_hand() -> None:
    """66 sequences x 8 KV heads on 132 SMs: 4 waves; 66 x 4096 x 4096 B of KV; groups of 4 padded to 64."""
    row = attention("decode", sequences=66)
    kv_bytes = 66 * 4096 * 2 * 8 * 128 * 2
    rows_bytes = 66 * 32 * 256 * 2
    wave = (3 + 0.25 * 4) * 1e-6 * 66 * 8 / 132
    memory = (kv_bytes + rows_bytes) / 3.35e12 / 0.8
    compute = 16 * 66 * 2 * 32 * 256 * 4096 / 989.4e12 / 0.5
    assert float(decode_seconds(row, H100, DECODE)) == pytest.approx(
        10e-6 + wave + memory + compute, rel=1e-9
    )


def test_a_split_context_is_put_together() -> None:
    """8 blocks leave SMs idle: log2(4096 / 128) = 5 steps of half a microsecond more than the same work."""
    few = attention("decode", sequences=1)
    walk = float(decode_seconds(few, H100, DECODE)) - float(
        decode_seconds(few, H100, DECODE.model_copy(update={"walk": 0.0}))
    )
    assert walk == pytest.approx(5 * 0.5e-6, rel=1e-9)
    assert float(decode_features(few)["tiles"]) == 32


def test_a_window_begins_inside_of_a_tile() -> None:
    """128 tokens of a window touch two tiles of 128, 96 of a short sequence three quarters of one."""
    assert float(decode_features(attention("decode", context=5000, window=128))["tiles"]) == 2
    assert float(decode_features(attention("decode", context=96, window=128))["tiles"]) == 0.75
    assert [float(decode_features(attention("decode", context=n))["tiles"]) for n in (32, 128, 129)] == [
        0.25,
        1,
        2,
    ]


def test_kv_that_fits_in_the_cache_is_in_memory_all_the_same() -> None:
    """A kernel that runs again and again finds 16.8 MB in the cache; a model's step never does."""
    small, large = attention("decode", context=4096), attention("decode", sequences=64, context=4096)
    assert float(small.bytes) == pytest.approx(16.8e6, rel=0.01)
    kept = 0.75 * float(small.bytes) / 3.35e12 / 0.8
    measured, cold = (float(f(small, H100, DECODE)) for f in (measured_decode_seconds, decode_seconds))
    assert cold - measured == pytest.approx(kept, rel=0.01)
    measured, cold = (float(f(large, H100, DECODE)) for f in (measured_decode_seconds, decode_seconds))
    assert measured == pytest.approx(cold, rel=1e-6)


def test_prefill_by_hand() -> None:
    """300 queries are 3 tiles; each sees 150.5 tokens and half a tile; the last one reads 300, as 3 tiles."""
    row = attention("prefill", sequences=2, context=300)
    compute = 2 * 32 * 3 * 128 * 2 * 256 * (150.5 + 64) / 989.4e12 / 0.5
    longest = 128 * 2 * 256 * 384 / (989.4e12 / 132) / 0.5
    kv_bytes = 2 * 300 * 8 * 256 * 2
    memory = (2 * 300 * 32 * 256 * 2 + kv_bytes) / 3.35e12 / 0.4
    whole = 10e-6 + compute + longest + memory + kv_bytes / 3.35e12 / 0.2
    assert float(prefill_form_seconds(row, H100, PREFILL)) == pytest.approx(whole, rel=1e-9)


def test_a_chunk_sees_what_came_before_it() -> None:
    """The last 512 of 4096 tokens: 3,840.5 seen each, where the first 512 see 256.5."""
    first, last = (attention("prefill", context=context, new=512) for context in (512, 4096))
    assert prefill_features(first)["seen"] == 256.5
    assert prefill_features(last)["seen"] == 3840.5
    assert float(prefill_seconds(last, H100, PREFILL)) > 3 * float(prefill_seconds(first, H100, PREFILL))


def test_chunks_cost_at_least_the_whole() -> None:
    whole = prefill_form_seconds(attention("prefill", context=8192), H100, PREFILL)
    chunks = sum(
        prefill_form_seconds(attention("prefill", context=end, new=1024), H100, PREFILL)
        for end in range(1024, 8193, 1024)
    )
    assert float(chunks) > float(whole)


sizes = st.integers(1, 2**17)


@given(sizes, sizes, st.integers(1, 2048), st.sampled_from((64, 128, 256)))
def test_more_context_never_costs_less(one: int, other: int, sequences: int, head_dim: int) -> None:
    short, long = sorted((one, other))
    few, many = (
        attention("decode", sequences=sequences, context=context, head_dim=head_dim)
        for context in (short, long)
    )
    assert float(decode_seconds(few, H100, DECODE)) <= float(decode_seconds(many, H100, DECODE)) * (1 + 1e-12)
    few, many = (attention("prefill", context=context, head_dim=head_dim) for context in (short, long))
    assert float(prefill_seconds(few, H100, PREFILL)) <= float(prefill_seconds(many, H100, PREFILL)) * (
        1 + 1e-12
    )


@given(sizes, st.integers(1, 1024), st.integers(1, 1024))
def test_more_sequences_never_cost_less(context: int, one: int, other: int) -> None:
    """Of decode without the walk, which a batch that fills all SMs does not take."""
    law = DECODE.model_copy(update={"walk": 0.0})
    few, many = (attention("decode", sequences=n, context=context) for n in sorted((one, other)))
    assert float(decode_seconds(few, H100, law)) <= float(decode_seconds(many, H100, law)) * (1 + 1e-12)


@settings(deadline=None)
@given(
    st.sampled_from(DEVICES),
    st.sampled_from(("vllm", "sglang", "trtllm")),
    st.integers(1, 2048),
    st.integers(1, 2**17),
    st.sampled_from(((1, 1), (8, 8), (32, 8), (64, 4), (128, 1))),
    st.sampled_from((64, 96, 128, 192, 256, 512)),
    st.sampled_from((None, 128, 1024)),
    st.sampled_from(("bf16", "fp8")),
)
def test_no_shipped_law_beats_the_data_sheet(
    name: str,
    kernels: str,
    sequences: int,
    context: int,
    heads: tuple[int, int],
    head_dim: int,
    window: int | None,
    kv_dtype: Dtype,
) -> None:
    """KV bytes at the memory's rate bound decode, operations at the peak prefill, whatever a table says."""
    device, profile = find_device(name), read_profile(name)
    for phase in ("decode", "prefill"):
        row = attention(
            phase,
            sequences=sequences,
            context=context,
            heads=heads[0],
            kv_heads=heads[1],
            head_dim=head_dim,
            window=window,
            kv_dtype=kv_dtype,
        )
        seconds = float(attention_seconds(row, device, profile, kernels))
        assert 0 < seconds < 1e5
        if phase == "decode":
            assert seconds >= float(row.bytes) / device.memory_bandwidth_bytes_per_s
        else:
            assert seconds >= float(row.flops) / max(device.peak_flops.values())


@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_arrays_give_what_numbers_give(phase: Phase) -> None:
    contexts, batches = (100, 4096, 70000), (1, 30, 200)
    each = [
        attention(phase, sequences=batch, context=context, new=1 if phase == "decode" else 64, window=1024)
        for batch, context in zip(batches, contexts, strict=True)
    ]
    together = replace(
        each[0], sequences=np.array(batches), context=np.array([float(row.context) for row in each])
    )
    assert np.asarray(attention_seconds(together, H100, PROFILE, "vllm")) == pytest.approx(
        [float(attention_seconds(row, H100, PROFILE, "vllm")) for row in each], rel=1e-12
    )


def test_the_table_corrects_the_form() -> None:
    """ln(measured / form) is 0.1 at one block and 0.3 at 256: half way in log2 between them, 0.2."""
    table = Residual(axes=(Axis(feature="blocks", knots=(0, 8)),), values=(100, 300))
    row = attention("decode", sequences=2)
    plain, corrected = (
        float(decode_seconds(row, H100, law))
        for law in (DECODE, DECODE.model_copy(update={"residual": table}))
    )
    assert log2(corrected / plain) * np.log(2) == pytest.approx(0.2, abs=1e-9)


def test_the_nearest_head_size_of_the_own_kernels_serves() -> None:
    laws = [
        DECODE.model_copy(update={"kernels": kernels, "kernel": kernel, "format": form, "head_dims": dims})
        for kernels, kernel, form, dims in (
            ("vllm", "small", "bf16", (64, 128)),
            ("vllm", "large", "bf16", (512,)),
            ("vllm", "narrow", "fp8", (64, 128)),
            ("trtllm", "theirs", "bf16", (192,)),
        )
    ]

    def served(head_dim: int, kernels: str, kv_dtype: Dtype = "bf16") -> str:
        row = attention("decode", head_dim=head_dim, kv_dtype=kv_dtype)
        return nearest(laws, row, kernels).kernel

    assert [served(size, "vllm") for size in (64, 96, 192, 300, 512)] == ["small"] * 3 + ["large"] * 2
    assert served(128, "trtllm") == "theirs"
    assert served(192, "sglang") == "theirs"
    assert served(128, "vllm", "fp8") == "narrow"


def test_mla_is_served_by_its_own_laws() -> None:
    """Decode by one against the latent KV; prefill by one of keys of 192 and values of 128."""
    latent = replace(
        attention("decode", heads=16, kv_heads=1), qk_dim=576, v_dim=512, row_bytes=1152, latent=True
    )
    seconds = float(attention_seconds(replace(latent, sequences=64), H100, PROFILE, "trtllm"))
    assert seconds == pytest.approx(119.2e-6, rel=0.05)  # TensorRT-LLM 1.3.0rc20, H100
    expanded = replace(attention("prefill", heads=16, kv_heads=16), qk_dim=192, v_dim=128, latent=True)
    seconds = float(attention_seconds(expanded, H100, PROFILE, "trtllm"))
    assert seconds == pytest.approx(207.2e-6, rel=0.08)


def test_the_mla_of_vllm_is_sglang_s_where_that_is_triton_s() -> None:
    """One sequence of 65,535 tokens, 2 heads, RTX PRO 6000, aiconfigurator-core 0.12.0: a whole block of vLLM
    takes 133 us (mla_generation_module), TensorRT-LLM's attention alone 5,552 us (generation_mla)."""
    device, profile = find_device("RTX-PRO-6000-96GB"), read_profile("RTX-PRO-6000-96GB")
    row = attention("decode", heads=2, kv_heads=1, context=65535)
    latent = replace(row, qk_dim=576, v_dim=512, row_bytes=1152, latent=True)
    seconds = {
        engine: float(attention_seconds(latent, device, profile, engine)) for engine in get_args(Kernels)
    }
    assert seconds["vllm"] == seconds["sglang"] < 133e-6
    assert seconds["trtllm"] == pytest.approx(5552e-6, rel=0.1)


def test_the_mla_of_vllm_is_tensorrt_llm_s_elsewhere() -> None:
    latent = replace(attention("decode"), latent=True)
    for name in ("H100-SXM-80GB", "B200-SXM-180GB", "GB300-279GB"):
        assert nearest(read_profile(name).decode, latent, "vllm").kernels == "trtllm"


@pytest.mark.parametrize(
    ("row", "measured_us"),
    [
        (attention("decode", sequences=64, context=4096, heads=32, kv_heads=4), 187),
        (attention("decode", sequences=128, context=2048, heads=64, kv_heads=8), 360.3),
        (attention("decode", sequences=1024, context=128, heads=8, kv_heads=8), 260.5),
        (attention("prefill", sequences=2, context=4096, heads=32, kv_heads=8), 511),
        (attention("prefill", sequences=1, context=16384, heads=64, kv_heads=1), 6544.9),
    ],
)
def test_measured_rows(row: Attention, measured_us: float) -> None:
    """Rows of aiconfigurator-core 0.12.0, H100, vLLM 0.24.0, bf16, in the interval that their law states."""
    laws, features = (
        (PROFILE.decode, decode_features) if row.phase == "decode" else (PROFILE.prefill, prefill_features)
    )
    band = nearest(laws, row, "vllm").band(features(row))
    predicted = float(attention_seconds(row, H100, PROFILE, "vllm"))
    assert band.low * predicted <= measured_us * 1e-6 <= band.high * predicted
    assert 0.8 < band.low < 1 < band.high < 1.3
