"""Rows that physics rejects: each rule met by the rows where it was seen, and by no sound neighbour."""

import pytest

from shardwright.calibrate.measured.case import Case, case_of
from shardwright.calibrate.measured.coverage import coverage, coverage_lines
from shardwright.calibrate.measured.doubts import DOUBTS, doubts_of
from shardwright.calibrate.measured.row import read_rows
from tests.calibrate.measured.samples import FILE, ROWS, a_case, a_row

SEEN = {
    "3e5d684ad67d": ("reading",),
    "f02b2f403fec": ("little",),
    "0e680ab8f395": ("little",),
    "f782b5c91dd2": ("speculation",),
    "715220ed4134": ("weights", "launches", "degrees"),
    "86295a6779c4": ("prompts",),
    "f2c8fa94263f": ("replicas",),
    "c413205a72be": ("ep",),
}


@pytest.mark.parametrize("row_id", [key for key, row in ROWS.items() if isinstance(case_of(row), Case)])
def test_the_rows_where_a_rule_was_seen_meet_it_and_no_others(row_id: str) -> None:
    assert doubts_of(a_case(row_id)) == SEEN.get(row_id, ())


def test_every_rule_was_seen() -> None:
    assert {rule for rules in SEEN.values() for rule in rules} == {rule.id for rule in DOUBTS}


@pytest.mark.parametrize(("gpus", "doubted"), [(1, True), (2, False)])
def test_235_gb_need_two_h200(gpus: int, doubted: bool) -> None:
    case = a_case("715220ed4134", gpus=gpus, tp=gpus, notes="")
    assert doubts_of(case) == (("weights",) if doubted else ())


@pytest.mark.parametrize(("share", "doubted"), [(0.58, False), (0.62, True)])
def test_prompts_take_no_more_than_a_share_of_the_peak(share: float, doubted: bool) -> None:
    """Qwen3-32B: 31,205,628,928 parameters in its layers, norms included; two H100 of 989.4 TFLOP/s."""
    seconds = 1000 * 2 * 31_205_628_928 / (2 * 9.894e14 * share)
    case = a_case(a_row(ttft_ms_mean=seconds * 1e3))
    assert doubts_of(case) == (("prompts",) if doubted else ())


@pytest.mark.parametrize(("gpu", "peak"), [("B200", 9e15), ("H100", 9.894e14)])
def test_mxfp4_is_multiplied_as_fast_as_fp4_where_a_gpu_can(gpu: str, peak: float) -> None:
    """gpt-oss-120b: 5.13 B active parameters without the embedding, the head of 201,088 x 2880 among them."""
    flop = 1000 * 2 * (5.13e9 - 201_088 * 2880)
    for share, doubted in ((0.55, False), (0.65, True)):
        row = a_row(model="openai/gpt-oss-120b", gpu=gpu, ttft_ms_mean=flop / (2 * peak * share) * 1e3)
        assert doubts_of(a_case(row)) == (("prompts",) if doubted else ())


@pytest.mark.parametrize(("share", "doubted"), [(0.88, False), (0.92, True)])
@pytest.mark.parametrize(("tp", "pp"), [(2, 1), (1, 2), (1, 4)])
def test_a_token_waits_for_the_weights(share: float, doubted: bool, tp: int, pp: int) -> None:
    """All but the embedding of 151,936 x 5120: over TP two GPUs read at once, over PP one after the other."""
    num_bytes = 2 * (32_762_123_264 - 151_936 * 5120)
    seconds = num_bytes / tp / (3.35e12 * share)
    case = a_case(a_row(gpus=tp * pp, tp=tp, pp=pp, tpot_ms_mean=seconds * 1e3))
    assert doubts_of(case) == (("reading",) if doubted else ())


@pytest.mark.parametrize(("waves", "doubted"), [(0.8, True), (0.9, False), (1.0, False), (1.1, True)])
def test_littles_law(waves: float, doubted: bool) -> None:
    """Eight in flight, 100 tokens each in 1 s + 99 x 50 ms: 134.5 tokens a second when all are busy."""
    rate = waves * 8 * 100 / (1 + 99 * 0.05)
    case = a_case(a_row(ttft_ms_mean=1000, tpot_ms_mean=50, output_tok_s_total=rate))
    assert doubts_of(case) == (("little",) if doubted else ())


@pytest.mark.parametrize(
    ("model", "method", "doubted"),
    [
        ("deepseek-ai/DeepSeek-R1", "unknown", True),
        ("Qwen/Qwen3-32B", "unknown", False),
        ("deepseek-ai/DeepSeek-R1", "none", False),
        ("Qwen/Qwen3-32B", "mtp", True),
    ],
)
def test_speculation_that_nobody_states_is_feared_where_a_model_has_it(
    model: str, method: str, doubted: bool
) -> None:
    case = a_case(a_row(model=model, gpu="H200", gpus=8, spec_decode=method))
    assert doubts_of(case) == (("speculation",) if doubted else ())


def test_a_batch_of_each_attention_rank_is_no_replica() -> None:
    row = ROWS["8f280a037c20"]
    assert (row.concurrency_or_batch, row.noted("batch_size field"), a_case(row).layout.dp) == (32, "8.0", 4)
    assert doubts_of(a_case("8f280a037c20", concurrency_or_batch=64)) == ("replicas",)


@pytest.mark.parametrize(("tp", "pp", "doubted"), [(8, 1, True), (2, 4, True), (1, 8, False)])
def test_one_rank_has_no_experts_to_spread(tp: int, pp: int, doubted: bool) -> None:
    assert doubts_of(a_case("c413205a72be", tp=tp, pp=pp)) == (("ep",) if doubted else ())


def test_coverage_counts_every_row_once() -> None:
    found = coverage(map(case_of, read_rows(FILE)))
    assert sum(each.rows for each in found) == len(ROWS)
    by_mode = {each.mode: each for each in found}
    static = by_mode["offline_static_batch"]
    assert (static.rows, static.cases, static.fitted, static.share) == (9, 7, 6, 1.0)
    assert (static.refused, static.doubted) == ({"layers": 2}, {"reading": 1})
    assert (by_mode["disagg"].share, by_mode["disagg"].refused) == (0.0, {"disagg": 1})
    for each in found:
        assert each.cases + sum(each.refused.values()) == each.rows
    lines = list(coverage_lines(found))
    assert "offline_static_batch          9      7  100.0%       6" in lines
    assert len(lines) == 1 + len(found) + sum(len(each.refused) + len(each.doubted) for each in found)
