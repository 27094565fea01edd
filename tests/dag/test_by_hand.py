"""The reference case under each of its readings: counts and bytes by the formulas of docs/graph.md."""

from collections import Counter
from pathlib import Path

import pytest

from shardwright.dag.schedule import Schedule
from shardwright.dag.step import step_timeline
from shardwright.engine.shardwright_runtime import SHARDWRIGHT_0_1
from shardwright.layout.notation import parse_layout
from shardwright.plan.deployment import read_deployment
from shardwright.steps.load import decode_load
from shardwright.steps.operation import COMMUNICATION, Exchange

REFERENCE = Path(__file__).parents[2] / "examples" / "reference.yaml"
LAYERS, HIDDEN, VOCABULARY, TOP_K, BATCH = 16, 4096, 32_000, 2, 128

TOKENS = {
    "tp2.dp2.pp2/ep4": 32,
    "tp2.pp2+ep4.shared": 64,
    "tp2.dp2.pp2+ep4.shared": 32,
    "tp2.dp2.pp2/ep4.x2": 16,
    "tp2.dp2.pp2+ep4": 32,
    "tp2.pp2+ep4.shared.x2": 32,
    "tp2.dp8.pp2/ep4.etp2.edp2": 8,
}
"""Reading -> T, tokens of one of two micro-batches on an attention rank: 128 / (dp x copies) / 2."""


@pytest.mark.parametrize("text", TOKENS)
def test_counts_and_bytes_by_hand(text: str) -> None:
    deployment, layout = read_deployment(REFERENCE), parse_layout(text)
    load = decode_load(deployment.model, layout, deployment.workload, 2)
    timeline = step_timeline(
        deployment.model, SHARDWRIGHT_0_1, deployment.cluster, layout, load, Schedule(micro_batches=2)
    )
    graph = timeline.graph
    found: Counter[tuple[str, str, float]] = Counter()
    for node in graph.nodes:
        operation = node.operation
        if operation.family in COMMUNICATION:
            size = 0.0 if isinstance(operation, Exchange) else float(operation.bytes)
            found[graph.workers[node.worker].role, operation.name, size] += 1
    tokens, m, stages = TOKENS[text], 2, 2
    row = tokens * HIDDEN * 2.0
    attention = "attention+experts" if layout.home == "folded" else "attention"
    expected = {
        (attention, "embedding_sum", row): m,
        (attention, "attention_sum", row): m * LAYERS,
        (attention, "experts_sum", row): m * LAYERS,
        (attention, "dispatch", 0.0): m * LAYERS,
        (attention, "combine", 0.0): m * LAYERS,
        (attention, "send_stage", row): m * (stages - 1),
        (attention, "receive_stage", row): m * (stages - 1),
        (attention, "logits_gather", tokens * VOCABULARY * 4.0): m,
    }
    if layout.home != "folded":
        expected[("experts", "dispatch", 0.0)] = expected[("experts", "combine", 0.0)] = m * LAYERS
    assert found == expected
    assert {size for _, _, size in found} <= {0.0, row, tokens * VOCABULARY * 4.0}
    # An exchange is as long as its busiest rank: what it sends, or what the hottest expert rank gets.
    sent = tokens * TOP_K * layout.etp / layout.tp
    everywhere = tokens * layout.dp / layout.edp * TOP_K
    for node in graph.nodes:
        if isinstance(node.operation, Exchange):
            rows = float(node.operation.bytes) / (HIDDEN * 2)
            assert rows == pytest.approx(max(sent, float(load.expert_rows)))
            assert everywhere / layout.ep <= rows <= max(sent, everywhere)
