"""A document that states what the tool computes has no error; one with one wrong statement has one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.audit.audit import audit
from shardwright.audit.check import run
from shardwright.audit.checks import CHECKS
from shardwright.audit.subject import examine
from shardwright.layout.notation import parse_layout
from shardwright.plan.deployment import Deployment
from tests.audit.documents import example, self_consistent, with_claims

SOURCES = {
    "reference": ("tp2.dp2.pp2/ep4", "tp2.dp4/ep8", "dp16/ep16", "tp4.dp2/etp8", "tp2/ep2.x3", "tp2.pp4/ep2"),
    "audits/mixtral-a100": ("tp4.dp2/ep8", "tp8/etp8", "tp4/ep4.x2"),
    "audits/dense-llama-70b": ("tp4.x2", "tp8", "tp4.pp2"),
}
CASES = [(name, text) for name, texts in SOURCES.items() for text in texts]


@given(
    case=st.sampled_from(CASES),
    margin=st.sampled_from([1.0, 1.25, 2.0, 3.0]),
    batch=st.sampled_from([16, 60, 128, 250]),
)
@settings(max_examples=25)
def test_nothing_is_contradicted(case: tuple[str, str], margin: float, batch: int) -> None:
    name, text = case
    workload = example(name).workload.model_copy(update={"batch": batch})
    document = self_consistent(example(name).model_copy(update={"workload": workload}), text, margin=margin)
    subject = examine(document, text, None)
    assert subject.layout == parse_layout(text)
    assert [row.sentence for row in run(CHECKS, subject) if row.status == "contradicted"] == []


def good_document() -> Deployment:
    return self_consistent(example("reference"), "tp2.dp4/ep8", margin=4.0)


def test_a_right_document_with_probable_targets_is_ready() -> None:
    found = audit(good_document())
    assert found.verdict.level == "ready"
    assert {row.outcome for row in found.verdict.reasons} == {"holds"}


def test_targets_inside_the_interval_are_a_condition() -> None:
    found = audit(self_consistent(example("reference"), "tp2.dp4/ep8", margin=1.1))
    assert found.verdict.level == "ready with conditions"
    assert [row.id for row in found.verdict.reasons if row.outcome == "condition"] == ["targets_probable"]


def test_a_slip_that_nothing_rests_on_is_a_condition() -> None:
    found = audit(with_claims(good_document(), memory_headroom=0.8))
    assert found.verdict.level == "ready with conditions"


def test_too_few_gpus_are_a_failure() -> None:
    small = good_document().cluster.model_copy(update={"nodes": 1, "gpus_per_node": 4})
    found = audit(good_document().model_copy(update={"cluster": small}))
    assert {row.id: row.outcome for row in found.verdict.reasons}["gpus"] == "fails"


def test_a_model_that_does_not_fit_is_a_failure() -> None:
    device = good_document().cluster.device.model_copy(update={"memory_bytes": 8 * 2**30})
    cluster = good_document().cluster.model_copy(update={"device": device})
    found = audit(good_document().model_copy(update={"cluster": cluster}))
    assert {row.id: row.outcome for row in found.verdict.reasons}["memory"] == "fails"
    assert found.verdict.level == "not ready"


MUTANTS = {
    "gpus": ("gpu_count", lambda value: value + 1),
    "gpu_utilisation": ("gpu_utilisation", lambda value: value / 2),
    "spare_gpus": ("spare_gpus", lambda value: value + 1),
    "replicas": ("replicas", lambda value: value + 1),
    "modules": ("modules", lambda value: value + 1),
    "experts_per_gpu": ("experts_per_gpu", lambda value: value * 2),
    "layers_per_stage": ("layers_per_stage", lambda value: value - 1),
    "sequences_per_replica": ("sequences_per_replica", lambda value: value + 1),
    "model_gb": ("model_size", lambda value: value + 0.3),
    "parameters_billion": ("parameters", lambda value: value + 0.03),
    "memory_gb": ("memory_per_gpu", lambda value: value * 1.5),
    "memory_utilisation": ("memory_utilisation", lambda value: value + 0.01),
    "memory_headroom": ("memory_headroom", lambda value: value - 0.01),
    "tpot_ms": ("latency_throughput", lambda value: value * 1.5),
    "latency_gain": ("latency_gain", lambda value: value + 0.1),
    "latency_reduction": ("latency_reduction", lambda value: value + 0.02),
    "ttft_ms": ("ttft", lambda value: value / 10),
    "throughput_tokens_per_s": ("latency_throughput", lambda value: value * 1.5),
    "throughput_gain": ("throughput_gain", lambda value: value - 0.1),
    "communication_fraction": ("communication", lambda value: 1.0),
}


@pytest.mark.parametrize("field", MUTANTS)
def test_one_wrong_statement_is_found(field: str) -> None:
    id, change = MUTANTS[field]
    document = good_document()
    assert document.claims is not None
    assert audit(document).finding(id).status != "contradicted"
    wrong = with_claims(document, **{field: change(getattr(document.claims, field))})
    layout = None if field != "gpus" else "tp2.dp4/ep8"
    assert audit(wrong, layout=layout).finding(id).status == "contradicted"


def test_fewer_micro_batches_than_stages_leave_gpus_idle() -> None:
    document = self_consistent(example("reference"), "tp2.pp4/ep2")
    assert audit(document).finding("pipeline_idle").status == "confirmed"
    found = audit(with_claims(document, micro_batches=1)).finding("pipeline_idle")
    assert found.status == "contradicted"
    assert found.numbers["idle"] == 0.75
    assert parse_layout("tp2.pp4/ep2").pp == 4
