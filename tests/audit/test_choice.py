"""Which layout a strategy means on the GPUs given, and what is said when it is none or several."""

import pytest

from shardwright.audit.audit import audit
from shardwright.audit.reading import choose, read
from shardwright.errors import InputError
from shardwright.plan.claims import Claims
from shardwright.plan.deployment import resolve
from tests.audit.documents import audited, example

REFERENCE = example("reference")


def test_no_reading_of_the_large_strategy_fits_16_gpus() -> None:
    found = audit(REFERENCE, layout="EP64-TP8-PP2-DP2", gpus=16)
    assert found.layout is None
    assert found.pool is None
    counts = {row.gpus: row for row in found.readings}
    assert {32, 96, 128, 160, 2048} <= set(counts)
    assert {gpus: counts[gpus].shortfall for gpus in (32, 96, 128, 160, 2048)} == {
        32: 16,
        96: 80,
        128: 112,
        160: 144,
        2048: 2032,
    }
    assert counts[32].contradicts == "EP64: comes out as 16"
    assert not any(row.fits_cluster for row in found.readings)


def test_its_nearest_layout_fits_and_the_growth_path_is_told() -> None:
    found = audit(REFERENCE, layout="EP64-TP8-PP2-DP2", gpus=16)
    assert found.nearest is not None
    assert found.nearest.layout == "tp8.dp2/ep16"
    assert found.nearest.gpus == 16
    assert found.nearest.fits_memory
    steps = [step.gpus for step in found.growth]
    assert steps == sorted(steps)
    assert {32, 96, 128, 160, 2048} <= set(steps)
    assert [step.more_gpus for step in found.growth] == [gpus - 16 for gpus in steps]
    assert found.verdict.level == "not ready"
    assert found.verdict.reasons[0].id == "one_layout"
    assert [row.scope for row in found.better] == ["all usable GPUs"]


def test_claims_of_the_document_are_not_held_against_another_strategy() -> None:
    found = audit(REFERENCE, layout="EP64-TP8-PP2-DP2", gpus=16)
    assert not found.findings
    assert "TP2-EP4-PP2-DP2" in found.notes[0]
    own = audit(REFERENCE, layout="tp2.dp2.pp2+ep4.shared", gpus=12)
    assert own.finding("modules").status == "confirmed"
    assert own.priced_on == "Shardwright runtime 0.1"


def test_several_readings_of_16_ask_for_a_canonical_form() -> None:
    found = audit(REFERENCE, gpus=16)
    assert found.layout is None
    assert [row.layout for row in found.readings if row.matches_declared] == [
        "tp2.dp2.pp2/ep4.x2",
        "tp2.dp2.pp2+ep4",
        "tp2.pp2+ep4.shared.x2",
    ]
    assert "canonical form" in found.choice
    status = {row.id: row.status for row in found.findings}
    assert status["latency_throughput"] == "contradicted"
    assert status["memory_headroom"] == "contradicted"
    assert status["latency_gain"] == "confirmed"
    assert status["layers_per_stage"] == status["tpot"] == "unsupported"
    assert "targets_together" not in status


@pytest.mark.parametrize(
    ("text", "declared", "available", "layout"),
    [
        ("TP2-EP4-PP2-DP2", 8, 16, "tp2.dp2.pp2/ep4"),
        ("TP2-EP4-PP2-DP2", 32, 16, "tp2.dp8.pp2/ep4.etp2.edp2"),
        ("TP2-EP4-PP2-DP2", 9, 8, "tp2.dp2.pp2/ep4"),
        ("TP2-EP4-PP2-DP2", 9, 16, None),
        ("TP2-EP4-PP2-DP2", 4, 4, None),
        ("EP64-TP8-PP2-DP2", 32, 64, "tp8.dp2.pp2/ep16"),
    ],
)
def test_the_gpus_decide(text: str, declared: int, available: int, layout: str | None) -> None:
    _, found = read(REFERENCE, text)
    reading, _ = choose(found, declared, available)
    assert (reading.canonical if reading else None) == layout


def test_a_layout_that_no_engine_runs_is_not_priced() -> None:
    found = audit(REFERENCE, layout="tp3/ep3")
    assert found.pool is None
    assert "no engine can run it" in found.choice


def test_an_engine_that_cannot_run_the_layout_is_a_condition() -> None:
    found = audit(REFERENCE, layout="tp2.dp2.pp2+ep4", gpus=16)
    assert {row.id: row.outcome for row in found.verdict.reasons}["engine"] == "condition"
    assert {row.id: row.level for row in found.risks}["engine"] == "high"
    assert {row.engine: row.accepted for row in found.verdicts} == {
        row.engine: row.engine == "shardwright" for row in found.verdicts
    }


def test_literal_forms_are_judged_by_every_engine() -> None:
    found = {row.engine: row for row in audited("reference").verdicts}
    assert {name for name, row in found.items() if row.accepted} == {"vllm", "shardwright"}
    assert all(row.nearest for row in found.values() if not row.accepted)


def test_modules_stand_on_the_ranks_of_the_engine() -> None:
    assert [row.ranks for row in audited("reference").modules] == [(0, 1, 4, 5), (2, 3, 6, 7)]
    own = audit(REFERENCE, layout="tp2.pp2+ep4.shared", gpus=8)
    assert [row.ranks for row in own.modules] == [(0, 1), (2, 3), (4,), (5,), (6,), (7,)]


@pytest.mark.parametrize("text", ["", "TPx", "tp2/ep3", "TP2-TP4"])
def test_what_is_no_strategy_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        audit(REFERENCE.model_copy(update={"layout": None}), layout=text)


def test_a_bad_strategy_among_the_claims_is_named() -> None:
    claims = Claims.model_validate({"strategies": [{"layout": "nonsense", "gpus": 8}]})
    with pytest.raises(InputError, match=r"claims\.strategies"):
        audit(REFERENCE.model_copy(update={"claims": claims}))


@pytest.mark.parametrize(("text", "gpus"), [("TP2-DP8", 4), ("tp3.x2", 1)])
def test_strategies_beyond_the_gpus_of_a_dense_model_are_answered(text: str, gpus: int) -> None:
    """So many copies leave no legal layout: the nearest is of one copy."""
    given = resolve({"model": "Llama-3.1-8B", "cluster": {"gpu": "H100", "nodes": 1, "gpus_per_node": gpus}})
    found = audit(given, layout=text)
    assert found.verdict.level == "not ready"


def test_no_gpus_are_refused() -> None:
    with pytest.raises(InputError, match="from 1"):
        audit(resolve({"model": "Llama-3.1-8B", "cluster": {"gpu": "H100"}}), layout="tp2", gpus=0)
