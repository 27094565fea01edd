"""The reference document: its contradictions are found and its right figures confirmed, with arithmetic."""

import pytest

from shardwright.audit.audit import audit
from shardwright.audit.digits import range_of
from tests.audit.documents import audited, example, with_claims

REFERENCE = "reference"

CONTRADICTED = {
    "map_layout",
    "replicas_with_spares",
    "memory_per_gpu",
    "memory_by_map",
    "memory_formula",
    "latency_throughput",
    "targets_together",
    "throughput",
    "pipeline_idle",
    "memory_headroom",
}
CONFIRMED = {
    "gpu_count",
    "strategy:EP64-TP8-PP2-DP2",
    "strategy:TP2-EP4-PP2-DP2",
    "map_gpus",
    "gpu_utilisation",
    "replicas",
    "spare_gpus",
    "modules",
    "experts_per_gpu",
    "layers_per_stage",
    "sequences_per_replica",
    "model_size",
    "parameters",
    "latency_gain",
    "latency_reduction",
    "throughput_gain",
    "communication_gain",
    "memory_utilisation",
}


def numbers(id: str) -> dict[str, float]:
    return audited(REFERENCE).finding(id).numbers


def test_what_is_wrong_and_what_is_right() -> None:
    found = {row.id: row.status for row in audited(REFERENCE).findings}
    assert {id for id, status in found.items() if status == "contradicted"} - {"tpot", "communication"} == (
        CONTRADICTED
    )
    assert {id for id, status in found.items() if status == "confirmed"} == CONFIRMED
    assert set(found) - CONTRADICTED - CONFIRMED == {"tpot", "communication"}


@pytest.mark.parametrize("id", ["tpot", "communication"])
def test_a_speed_is_contradicted_outside_the_interval_only(id: str) -> None:
    found = audited(REFERENCE).finding(id)
    low, high = range_of(found.numbers["claimed"])
    outside = low > found.numbers["high"] or high < found.numbers["low"]
    assert found.status == ("contradicted" if outside else "unsupported")


def test_readings_by_gpus() -> None:
    rows = [(row.gpus, row.layout) for row in audited(REFERENCE).readings]
    assert rows == [
        (8, "tp2.dp2.pp2/ep4"),
        (12, "tp2.dp2.pp2+ep4.shared"),
        (16, "tp2.dp2.pp2/ep4.x2"),
        (16, "tp2.dp2.pp2+ep4"),
        (16, "tp2.pp2+ep4.shared.x2"),
        (32, "tp2.dp8.pp2/ep4.etp2.edp2"),
    ]
    assert [row.shortfall for row in audited(REFERENCE).readings] == [0, 0, 0, 0, 0, 16]
    assert audited(REFERENCE).layout == "tp2.dp2.pp2/ep4"
    assert audited(REFERENCE).map_layout == "tp2.pp2+ep4.shared"


def test_two_replicas_of_the_map_leave_no_spare_gpus() -> None:
    assert numbers("replicas_with_spares") == {"copy_gpus": 8, "used": 16, "left": 0, "copies_with_spares": 1}


def test_an_expert_gpu_holds_15_gb_of_weights_and_no_kv() -> None:
    found = numbers("memory_by_map")
    assert found["weights_gb"] == pytest.approx(16 * 16 * 3 * 4096 * 2304 * 2 / 1e9)
    assert found["kv_gb"] == 0
    assert found["lightest_weights_gb"] < 0.7
    assert found["beyond_weights_gb"] == pytest.approx(18.5, abs=0.05)
    assert numbers("memory_per_gpu")["weights_gb"] == pytest.approx(7.7, abs=0.05)


def test_the_memory_figure_divides_the_model_by_tp_alone() -> None:
    assert numbers("memory_formula") == {"divisor": 2, "overhead": 0.1}
    assert "60 GB / TP2 + 10 % = 33.0 GB" in audited(REFERENCE).finding("memory_formula").sentence


def test_latency_and_throughput_contradict_each_other() -> None:
    found = numbers("latency_throughput")
    assert found["implied_tokens_per_s"] == pytest.approx(3657.14, abs=0.01)
    assert found["needed_step_ms"] == pytest.approx(4.571, abs=0.001)
    assert found["needed_in_flight"] == pytest.approx(980)
    arithmetic = " ".join(audited(REFERENCE).finding("latency_throughput").arithmetic)
    assert "whole request" in arithmetic
    assert "first token" in arithmetic


def test_both_targets_are_out_of_reach_of_two_stages() -> None:
    found = numbers("targets_together")
    assert found["needed_step_ms"] == pytest.approx(6.4)
    assert found["micro_batches"] == 2
    attention = 8 * (2 * 4096 * 4096 + 2 * 4096 * 1024) / 2  # q and o, k and v; TP 2
    router, head, experts = 8 * 64 * 4096, 32000 * 4096 / 2, 8 * 16 * 3 * 4096 * 2304
    read_bytes = 2 * (attention + router + head + experts)
    whole = 128 / (2 * read_bytes / 1.64e12)
    assert found["ceiling_all_experts_tokens_per_s"] == pytest.approx(whole, rel=1e-9)
    assert 13_500 < whole < found["ceiling_tokens_per_s"] < 14_500
    assert 1.7 < found["best_ceiling_tokens_per_s"] / found["ceiling_tokens_per_s"] < 2.05
    best = audited(REFERENCE).better[0]
    assert best.scope == "same GPUs"
    assert best.pool.num_gpus == 8
    assert "pp" not in best.pool.layout


def test_one_micro_batch_leaves_half_of_two_stages_idle() -> None:
    assert numbers("pipeline_idle")["idle"] == 0.5


def test_ratios_are_held_to_their_digits() -> None:
    assert audited(REFERENCE).finding("memory_headroom").truth == "48.4 %"
    assert numbers("latency_gain")["truth"] == pytest.approx(50 / 35)
    assert numbers("memory_utilisation")["truth"] == pytest.approx(33 / 64)
    assert numbers("communication_gain")["truth"] == pytest.approx(0.2 / 0.03)


def test_the_large_strategy_is_a_plain_product_and_the_same_count_gives_32_here() -> None:
    found = audited(REFERENCE).finding("strategy:EP64-TP8-PP2-DP2")
    assert found.numbers["current_by_same_rule"] == 32
    assert "tp8.dp128.pp2/ep64.etp8.edp2" in found.sentence


def test_it_is_not_ready_because_a_target_is_missed_and_statements_fail() -> None:
    verdict = audited(REFERENCE).verdict
    assert verdict.level == "not ready"
    assert [row.id for row in verdict.reasons if row.outcome == "fails"] == ["targets_met", "decisive_claims"]
    missed = [check.name for check in audited(REFERENCE).targets if not check.met]
    assert missed == ["throughput_tokens_per_s"]


@pytest.mark.parametrize(
    ("id", "changes"),
    [
        ("replicas_with_spares", {"spare_gpus": 0}),
        ("replicas_with_spares", {"replicas": 1}),
        ("map_layout", {"gpu_map": {"attention": [[0, 1, 4, 5], [2, 3, 6, 7]]}}),
        ("memory_per_gpu", {"memory_gb": 10.3}),
        ("latency_throughput", {"throughput_tokens_per_s": 3650}),
        ("latency_throughput", {"tpot_ms": 4.5}),
        ("pipeline_idle", {"micro_batches": 2}),
        ("memory_headroom", {"memory_headroom": 0.484}),
        ("memory_headroom", {"memory_headroom": 0.48}),
    ],
)
def test_put_right_it_is_confirmed(id: str, changes: dict[str, object]) -> None:
    assert audit(with_claims(example(REFERENCE), **changes)).finding(id).status == "confirmed"


@pytest.mark.parametrize(
    ("id", "changes"),
    [
        ("gpu_count", {"gpus": 10}),
        ("gpu_count", {"gpus": 24}),
        ("strategy:EP64-TP8-PP2-DP2", {"strategies": [{"layout": "EP64-TP8-PP2-DP2", "gpus": 1024}]}),
        ("strategy:EP64-TP8-PP2-DP2", {"strategies": [{"layout": "EP64-TP8-PP2-DP2", "gpus": 32}]}),
        ("map_gpus", {"gpu_map": {"attention": [[0, 1], [2, 3]], "experts": [3, 4, 5, 6]}}),
        ("map_gpus", {"gpu_map": {"attention": [[0, 1], [2, 3]], "experts": [4, 5, 6, 16]}}),
        ("modules", {"modules": 6}),
        ("experts_per_gpu", {"experts_per_gpu": 8}),
        ("layers_per_stage", {"layers_per_stage": 4}),
        ("sequences_per_replica", {"sequences_per_replica": 128}),
        ("model_size", {"model_gb": 30}),
        ("parameters", {"parameters_billion": 29}),
        ("spare_gpus", {"spare_gpus": 4}),
        ("replicas", {"replicas": 4}),
        ("latency_gain", {"latency_gain": 1.42}),
        ("latency_reduction", {"latency_reduction": 0.31}),
        ("throughput_gain", {"throughput_gain": 1.5}),
        ("communication_gain", {"communication_gain": 6.6}),
        ("memory_utilisation", {"memory_utilisation": 0.515}),
        ("gpu_utilisation", {"gpu_utilisation": 0.25}),
        ("tpot", {"tpot_ms": 8}),
        ("tpot", {"tpot_ms": 300}),
        ("communication", {"communication_fraction": 0.001}),
    ],
)
def test_put_wrong_it_is_contradicted(id: str, changes: dict[str, object]) -> None:
    assert audit(with_claims(example(REFERENCE), **changes)).finding(id).status == "contradicted"
