"""Measured rows as cases: each source's way of counting, storing and loading, by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.calibrate.measured.case import ENGINES, Case, case_of
from shardwright.calibrate.measured.harness import harness_of
from shardwright.calibrate.measured.refusal import Refusal
from shardwright.calibrate.measured.row import Row
from shardwright.layout.notation import format_layout
from shardwright.model.weights import bytes_by_part
from tests.calibrate.measured.samples import ROWS, a_case, a_refusal, a_row

LAYOUTS = {
    "c86eff775538": ("A100-SXM-40GB", "tp2"),
    "c6dfe122461e": ("A100-SXM-40GB", "pp4"),
    "c2dab3eed3cf": ("A100-SXM-40GB", "tp4/ep2.etp2"),
    "f64f83c1e1c5": ("A100-SXM-40GB", "tp4/ep4"),
    "868ac7c0d0f6": ("MI250-GCD-64GB", "tp2/etp2"),
    "3e5d684ad67d": ("GH200-96GB", "tp1"),
    "f02b2f403fec": ("B200-SXM-180GB", "tp8/etp8"),
    "905cde48377a": ("B200-SXM-180GB", "dp8/ep8"),
    "e3c16d78758a": ("MI355X-288GB", "tp4/etp4"),
    "8f280a037c20": ("B200-SXM-180GB", "dp4/etp4"),
    "f2c8fa94263f": ("GB200-186GB", "tp2"),
    "786b5eb89715": ("B200-SXM-180GB", "tp4"),
    "c413205a72be": ("H200-SXM-141GB", "dp8/ep8"),
    "595dca42ed7d": ("RTX-PRO-6000-96GB", "pp4"),
}


@pytest.mark.parametrize("row_id", LAYOUTS)
def test_degrees_are_counted_as_the_source_counts_them(row_id: str) -> None:
    case = a_case(row_id)
    assert (case.cluster.device.name, format_layout(case.layout)) == LAYOUTS[row_id]
    assert case.layout.num_gpus == case.cluster.num_gpus


LOADS = {
    "c86eff775538": ("static", 1, None, 1, (128, 128)),
    "f02b2f403fec": ("closed", 64, None, 640, (819, 1024)),
    "5f72e5ab4f12": ("closed", 8, None, 80, (1024, 1024)),
    "7f2aae3551c9": ("open", None, 2.0, 500, (467, 467)),
    "0f5a2aa05eba": ("offline", None, None, 500, (467, 467)),
    "8839c6558814": ("offline", None, None, 30000, (128, 128)),
}


@pytest.mark.parametrize("row_id", LOADS)
def test_requests_come_as_the_harness_sent_them(row_id: str) -> None:
    case = a_case(row_id)
    load = (case.kind, case.concurrency, case.request_rate_per_s, case.num_requests, case.input_tokens)
    assert load == LOADS[row_id]


def test_inferencex_draws_from_four_fifths_of_the_nominal_length_on() -> None:
    """bench_serving, sample_random_requests: numpy's randint(int(8192 * 0.8), 8192 + 1), the end excluded."""
    case = a_case("f782b5c91dd2")
    assert case.output_tokens == (int(8192 * 0.8), 8192)
    assert case.mean_output_tokens / 8192 == pytest.approx(0.9, abs=1e-4)


STORED = {
    "c86eff775538": ("fp16", None, "fp16"),
    "5f72e5ab4f12": ("bf16", None, "bf16"),
    "f02b2f403fec": ("fp4", None, "fp8"),
    "0e680ab8f395": ("fp8", None, "fp8"),
    "e3c16d78758a": ("bf16", "mxfp4", "fp8"),
    "8f280a037c20": ("bf16", "mxfp4", "fp8"),
    "86295a6779c4": ("fp8", None, "bf16"),
    "8839c6558814": ("fp8", None, "fp8"),
    "715220ed4134": ("fp8", None, "bf16"),
    "732d98edbfd0": ("fp8", None, "fp8"),
}


@pytest.mark.parametrize("row_id", STORED)
def test_models_are_stored_in_the_rows_precision(row_id: str) -> None:
    """Linear layers, experts where they differ, KV cache."""
    model = a_case(row_id).model
    own = model.experts.weight_dtype if model.experts else None
    assert (model.weight_dtype, own, model.kv_dtype) == STORED[row_id]
    assert model.name == ROWS[row_id].model


def test_amd_keeps_attention_and_head_in_16_bits() -> None:
    """DeepSeek-R1 in MXFP4: 4.25 bits a value of every MLP, 16 of attention, head and router."""
    plain = bytes_by_part(a_case("e3c16d78758a", precision_weights="bf16").model)
    packed = bytes_by_part(a_case("e3c16d78758a").model)
    for part in ("expert", "shared", "dense"):
        assert packed[part] / plain[part] == pytest.approx(4.25 / 16, rel=1e-3)
    for part in ("attention", "head", "router", "embedding"):
        assert packed[part] == plain[part]


def test_a_block_of_scales_is_read_out_of_the_notes() -> None:
    assert a_case("e861c85a6bb1").model.in_blocks("fp8")
    assert not a_case("e861c85a6bb1", notes="").model.in_blocks("fp8")
    assert a_case("905cde48377a").model.in_blocks("fp8"), "DeepSeek's own checkpoint is in blocks"


def test_gpt_oss_is_stored_as_published_whatever_it_is_called() -> None:
    published = a_case(a_row(model="openai/gpt-oss-120b")).model
    assert published.expert_dtype == "mxfp4"
    for precision in ("fp4", "fp8", "nvfp4"):
        assert a_case(a_row(model="openai/gpt-oss-120b", precision_weights=precision)).model == published


@pytest.mark.parametrize(
    ("gpu", "gpus", "nodes", "shape"),
    [
        ("H100", 2, None, (1, 2)),
        ("H100", 16, None, (2, 8)),
        ("H100", 12, None, (3, 4)),
        ("H100", 8, 2, (2, 4)),
        ("GB200-NVL72", 2, None, (1, 2)),
        ("GB200-NVL72", 8, None, (2, 4)),
        ("MI250", 8, None, (2, 8)),
    ],
)
def test_gpus_stand_in_nodes_as_sold_or_as_stated(
    gpu: str, gpus: int, nodes: int | None, shape: tuple[int, int]
) -> None:
    cluster = a_case(a_row(gpu=gpu, gpus=gpus, nodes=nodes)).cluster
    assert (cluster.nodes, cluster.gpus_per_node) == shape


@pytest.mark.parametrize("precision", ["bf16", "fp8", "fp8_block", "FP4", "nvfp4", "int8", "int4", "awq"])
def test_every_precision_that_people_state_is_stored_somehow(precision: str) -> None:
    """Qwen3-32B has 31.2 B values in linear layers; a value of a bit more than its bits."""
    bits = {"bf16": 16, "FP4": 4, "nvfp4": 4, "int4": 4, "awq": 4}.get(precision, 8)
    parts = bytes_by_part(a_case(a_row(precision_weights=precision)).model)
    plain = bytes_by_part(a_case(a_row(precision_weights="bf16")).model)
    share = parts["dense"] / plain["dense"]
    assert bits / 16 <= share < bits / 16 * 1.13


def test_settings_of_the_harness_are_the_engines() -> None:
    b200 = a_case("f02b2f403fec")
    assert (b200.poll_steps, a_case("f02b2f403fec", concurrency_or_batch=8).poll_steps) == (30, 10)
    assert a_case("5f72e5ab4f12").poll_steps == 1
    limits = b200.engine.memory.limits_on(b200.cluster.device)
    assert (limits.max_batched_tokens, b200.engine.memory.utilisation, b200.engine.memory.of) == (
        16384,
        0.85,
        "static",
    )


def test_a_step_takes_the_tokens_that_the_harness_reckoned_for_the_load() -> None:
    deepseek = {"model": "deepseek-ai/DeepSeek-R1", "gpu": "B200", "gpus": 8, "tp": 8, "engine": "trtllm"}
    load = {"isl": 8192, "osl": 1024, "concurrency_or_batch": 64}
    row = a_row(**deepseek, **load, source="InferenceX (SemiAnalysis) API rows", precision_weights="fp8")
    case = a_case(row)
    assert case.engine.memory.limits_on(case.cluster.device).max_batched_tokens == 8192 + 64 + 64
    assert case.gather_steps == 60
    own = a_case(row, source="mine")
    assert own.engine.memory.limits_on(own.cluster.device).max_batched_tokens == 8192
    assert own.gather_steps == 0


@pytest.mark.parametrize(
    ("source", "cells", "by_median"),
    [
        ("InferenceX (SemiAnalysis) API rows", {}, True),
        ("InferenceX (SemiAnalysis) API rows", {"ttft_ms_mean": 100.0}, False),
        ("AIConfigurator silicon_sample (InferenceX rows)", {}, False),
        ("mine", {}, False),
        ("mine", {"ttft_ms_median": 90.0, "ttft_ms_mean": 100.0}, True),
    ],
)
def test_times_are_medians_by_their_cells_or_else_by_their_source(
    source: str, cells: dict[str, object], by_median: bool
) -> None:
    assert a_case(a_row(source=source, **cells)).by_median is by_median


def test_what_ran_is_kept_beside_what_stands_for_it() -> None:
    case = a_case("95227a218553")
    assert (case.software, case.engine.id) == ("atom", "vllm")
    assert a_case("905cde48377a").software == a_case("8839c6558814").software == "trtllm"
    assert a_case("8839c6558814").engine_version == "0.17"


MOE = {"gpus": 8, "model": "Qwen/Qwen3-30B-A3B"}


@pytest.mark.parametrize(
    ("changes", "layout"),
    [
        ({"gpus": 8, "tp": 2}, "tp2.x4"),
        ({"gpus": 8, "tp": 2, "dp": 4}, "tp2.x4"),
        ({"gpus": 8, "tp": 2, "pp": 2}, "tp2.pp2.x2"),
        ({"gpus": 4, "gpu": "MI250", "tp": 2}, "tp4.x2"),
        (MOE, "tp8/etp8"),
        ({**MOE, "tp": 4, "dp": 2, "ep": 8}, "tp4.dp2/ep8"),
        ({**MOE, "tp": 4, "dp": 2, "engine": "sglang"}, "tp4/etp4.x2"),
        ({**MOE, "tp": 4, "dp": 2, "dp_attention": False}, "tp4/etp4.x2"),
        ({**MOE, "dp": 2, "engine": "sglang", "dp_attention": True}, "tp4.dp2/etp8"),
        ({**MOE, "tp": 8, "engine": "trt", "dp_attention": True}, "dp8/etp8"),
        ({**MOE, "tp": 1, "dp": 8, "ep": 8, "engine": "trt", "dp_attention": True}, "dp8/ep8"),
    ],
)
def test_degrees_that_are_not_stated_follow_from_the_gpus(changes: dict[str, object], layout: str) -> None:
    assert format_layout(a_case(a_row(**changes)).layout) == layout


@pytest.mark.parametrize(
    ("changes", "rule", "words"),
    [
        ({"mode": "disagg"}, "disagg", "pools follow later"),
        ({"model": "bigscience/bloom-7b1"}, "layers", "ALiBi"),
        ({"model": "nobody/nothing"}, "model", "catalog"),
        ({"gpu": "TPU v5"}, "gpu", "TPU v5"),
        ({"engine": "lmdeploy"}, "engine", "lmdeploy"),
        ({"precision_weights": "2-bit"}, "precision", "2-bit"),
        ({"precision_kv": "3-bit"}, "precision", "3-bit"),
        ({"gpus": 3, "tp": 2}, "degrees", "TP 2 x DP 1 x PP 1 cannot be laid over 3 GPUs"),
        ({"gpus": 2, "tp": 4}, "degrees", "cannot be laid over 2 GPUs"),
        ({"gpus": 4, "model": "Qwen/Qwen3-30B-A3B", "ep": 3}, "degrees", "EP 3"),
        ({"gpus": 4, "nodes": 3}, "nodes", "3 nodes"),
        ({"dp_attention": True}, "attention-dp", "experts only"),
        ({"concurrency_or_batch": None}, "load", "Neither"),
        ({"concurrency_or_batch": None, "mode": "offline_static_batch"}, "load", "static batch"),
    ],
)
def test_what_cannot_be_predicted_is_refused_by_a_rule(
    changes: dict[str, object], rule: str, words: str
) -> None:
    refusal = a_refusal(a_row(**changes))
    assert refusal.rule == rule
    assert words in refusal.sentence
    assert refusal.sentence.endswith(".")


def test_a_row_that_states_both_a_rate_and_a_cap_is_closed() -> None:
    case = a_case(a_row(request_rate=3.0))
    assert (case.kind, case.concurrency, case.request_rate_per_s) == ("closed", 8, None)


@given(
    gpus=st.integers(1, 64),
    tp=st.none() | st.integers(1, 16),
    ep=st.none() | st.integers(0, 16),
    pp=st.none() | st.integers(1, 4),
    dp=st.none() | st.integers(0, 16),
    dp_attention=st.none() | st.booleans(),
    engine=st.sampled_from(sorted(ENGINES)),
    model=st.sampled_from(("Qwen/Qwen3-32B", "Qwen/Qwen3-30B-A3B")),
    gpu=st.sampled_from(("H100", "MI250", "GB200-NVL72")),
)
def test_a_layout_has_all_the_gpus_of_its_row(**stated: object) -> None:
    """And its degrees are those stated: TP and PP at most, EP exactly."""
    row = a_row(**stated)
    reading = case_of(row)
    if isinstance(reading, Refusal):
        assert reading.rule in ("degrees", "attention-dp")
        return
    layout, dies = reading.layout, 2 if row.gpu == "MI250" else 1
    assert layout.num_gpus == reading.cluster.num_gpus == row.gpus * dies
    assert layout.pp == (row.pp or 1)
    if reading.model.experts:
        assert layout.ep == (row.ep or 1)
        assert layout.etp * layout.ep == layout.tp * layout.dp
    else:
        assert (layout.dp, layout.ep, layout.etp) == (1, 1, 1)
    if row.tp and not row.dp_attention:
        assert layout.tp == row.tp * dies


@given(isl=st.integers(1, 100_000))
def test_lengths_hold_what_the_client_can_draw(isl: int) -> None:
    low, high = harness_of(ROWS["f02b2f403fec"]).lengths(isl)
    assert 1 <= low <= high == isl
    assert low == max(1, math.floor(isl * 0.8))
    assert harness_of(a_row()).lengths(isl) == (isl, isl)


def test_every_row_of_the_sample_is_read() -> None:
    refused = {row_id for row_id, row in ROWS.items() if not isinstance(case_of(row), Case)}
    assert refused == {"caf544be034c", "eae4a5ccc6c1", "98d7ed043e40"}


def test_the_least_that_a_person_writes_is_read() -> None:
    row = Row(
        row_id="1", model="qwen3-32b", gpu="h100", gpus=1, engine="vLLM", isl=10, osl=10, request_rate=1
    )
    case = a_case(row)
    assert (format_layout(case.layout), case.kind, case.num_requests) == ("tp1", "open", None)
