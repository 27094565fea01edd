"""Five other documents, each with errors of its own among right statements."""

import pytest

from shardwright.audit.record import Status
from tests.audit.documents import EXAMPLES, audited

EXPECTED: dict[str, dict[str, Status]] = {
    "dense-llama-70b": {
        "spare_gpus": "contradicted",
        "memory_per_gpu": "contradicted",
        "memory_formula": "contradicted",
        "latency_gain": "contradicted",
        "gpu_count": "confirmed",
        "replicas": "confirmed",
        "modules": "confirmed",
        "layers_per_stage": "confirmed",
        "sequences_per_replica": "confirmed",
        "parameters": "confirmed",
        "model_size": "confirmed",
        "latency_throughput": "confirmed",
        "memory_utilisation": "confirmed",
        "gpu_utilisation": "confirmed",
    },
    "mixtral-a100": {
        "experts_per_gpu": "contradicted",
        "latency_throughput": "contradicted",
        "throughput": "contradicted",
        "communication": "contradicted",
        "latency_reduction": "contradicted",
        "gpu_count": "confirmed",
        "replicas": "confirmed",
        "spare_gpus": "confirmed",
        "sequences_per_replica": "confirmed",
        "model_size": "confirmed",
        "throughput_gain": "confirmed",
        "communication_gain": "confirmed",
    },
    "deepseek-h200": {
        "model_size": "contradicted",
        "tpot": "contradicted",
        "strategy:TP4-DP8-EP32": "contradicted",
        "strategy:DP16-EP16": "confirmed",
        "gpu_count": "confirmed",
        "experts_per_gpu": "confirmed",
        "layers_per_stage": "confirmed",
        "parameters": "confirmed",
        "latency_gain": "confirmed",
        "targets_together": "confirmed",
    },
    "qwen3-pipeline-mi300x": {
        "layers_per_stage": "contradicted",
        "spare_gpus": "contradicted",
        "memory_headroom": "contradicted",
        "gpu_count": "confirmed",
        "pipeline_idle": "confirmed",
        "model_size": "confirmed",
        "memory_per_gpu": "confirmed",
        "strategy:TP8-EP8-PP4": "confirmed",
    },
    "mixtral-own-expert-gpus": {
        "memory_by_map": "contradicted",
        "replicas": "contradicted",
        "replicas_with_spares": "contradicted",
        "targets_together": "contradicted",
        "map_gpus": "confirmed",
        "map_layout": "confirmed",
        "modules": "confirmed",
        "spare_gpus": "confirmed",
        "memory_per_gpu": "confirmed",
        "experts_per_gpu": "confirmed",
    },
}

SPEEDS = {"tpot", "ttft", "throughput", "communication"}
"""Where they are not far off, the width of a prediction decides."""


def test_every_document_is_expected() -> None:
    assert {path.stem for path in (EXAMPLES / "audits").glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_its_errors_are_found_and_nothing_else(name: str) -> None:
    found = {row.id: row.status for row in audited(f"audits/{name}").findings}
    assert {id: found[id] for id in EXPECTED[name]} == EXPECTED[name]
    wrong = {id for id, status in found.items() if status == "contradicted" and id not in SPEEDS}
    expected = {id for id, status in EXPECTED[name].items() if status == "contradicted"}
    assert wrong == expected - SPEEDS


@pytest.mark.parametrize("name", EXPECTED)
def test_no_document_with_a_decisive_error_is_ready(name: str) -> None:
    found = audited(f"audits/{name}")
    assert any(row.decisive for row in found.findings)
    assert found.verdict.level == "not ready"


@pytest.mark.parametrize("name", EXPECTED)
def test_sentences_are_whole(name: str) -> None:
    found = audited(f"audits/{name}")
    rows = (*found.findings, *found.risks, *found.recommendations, *found.balance, *found.verdict.reasons)
    for row in rows:
        assert row.sentence.endswith("."), row.sentence
        assert "None" not in row.sentence
        assert "  " not in row.sentence


def test_uneven_stages() -> None:
    found = audited("audits/qwen3-pipeline-mi300x")
    assert found.finding("layers_per_stage").numbers == {"most": 24, "fewest": 23}
    layers = next(row for row in found.balance if row.id == "layers")
    assert (layers.largest, layers.mean) == (24, 23.5)


def test_gpus_of_two_roles_are_not_balanced() -> None:
    rows = {row.id: row for row in audited("audits/mixtral-own-expert-gpus").balance}
    assert not rows["memory"].balanced
    assert "map_memory" not in rows, "the map is the layout itself"
    assert rows["memory"].mean == pytest.approx((4 * 6.53 + 8 * 35.35) / 12, abs=0.02)
