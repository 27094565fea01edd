"""Two plans compared: nothing where they are one, every changed input by name, the old layout priced now."""

from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright import __version__
from shardwright.cost.profile import read_profile
from shardwright.cost.software import shipped_serving
from shardwright.engine.tuning import Tuning
from shardwright.errors import ShardwrightError
from shardwright.layout.notation import parse_layout
from shardwright.plan.deployment import Deployment
from shardwright.plan.file import read_plan, write_plan
from shardwright.plan.plan import Plan
from shardwright.search.compare import compare
from shardwright.search.explain import explain
from shardwright.search.search import plan_for, search
from tests.samples import DENSE, SMALL_MOE, cluster
from tests.search.test_search import deployment

BASE = deployment(SMALL_MOE, 4, engine="vllm", targets={"tpot_ms": 50})

FEW_ROWS = shipped_serving().model_copy(update={"source": "rows of one's own"})

BIASED = SMALL_MOE.attention.model_copy(update={"qkv_bias": True})

CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": SMALL_MOE.model_copy(update={"num_layers": 6})}, "model.num_layers"),
    "attention": ({"model": SMALL_MOE.model_copy(update={"attention": BIASED})}, "model.attention.qkv_bias"),
    "cluster": ({"cluster": cluster("H100", nodes=2, gpus_per_node=4)}, "cluster.nodes"),
    "workload": (
        {"workload": BASE.workload.model_copy(update={"batch": 96})},
        "workload.batch",
    ),
    "targets": ({"targets": BASE.targets.model_copy(update={"ttft_ms": 500.0})}, "targets.ttft_ms"),
    "objective": ({"objective": "latency"}, "objective"),
    "reserve": ({"reserve_gpus": 2}, "reserve_gpus"),
    "engine": ({"engine": "vllm@0.32"}, "engine version"),
    "tuning": ({"tuning": Tuning(utilisation=0.5)}, "tuning.utilisation"),
    "profile": (
        {"profile": read_profile("H100-SXM-80GB").model_copy(update={"date": "2026-01-01"})},
        "device profile",
    ),
    "serving": ({"serving": FEW_ROWS}, "serving profile"),
}
"""What is changed -> the fields, and the row that must name it."""


@cache
def planned(*changes: str) -> Plan:
    given: Deployment = BASE
    for change in changes:
        given = given.model_copy(update=CHANGES[change][0])
    return search(given)


def fields_of(old: Plan, new: Plan) -> set[str]:
    return {change.field for change in compare(old, new).inputs}


def test_a_plan_is_itself(tmp_path: Path) -> None:
    """As made, and as read back."""
    plan = planned()
    for again in (plan, read_plan(write_plan(plan, tmp_path))):
        found = compare(again, plan)
        assert found.nothing and not found.winner_changed and not found.alone
        assert found.old_layout_now is None and found.verdict == "" and not found.repriced.missed
        assert all(row.overlap and row.before == row.after for row in found.figures)


def test_profiles_of_ones_own_that_were_used_are_compared(tmp_path: Path) -> None:
    """Two readings of one profile, each with what pricing left in it, and one of another serving profile."""
    plan = planned("profile")
    again = read_plan(write_plan(plan, tmp_path))
    priced = plan_for(again.deployment, parse_layout(again.pools[0].layout), reason="")
    assert fields_of(plan, priced) == set()
    own = again.deployment.model_copy(update={"serving": FEW_ROWS})
    assert fields_of(plan, plan_for(own, parse_layout(again.pools[0].layout), reason="")) == {
        "serving profile"
    }


@pytest.mark.parametrize("change", CHANGES)
def test_each_changed_input_is_named_and_no_other(change: str) -> None:
    named = fields_of(planned(), planned(change))
    follow = {"engine"} if change == "engine" else set()
    assert named == {CHANGES[change][1]} | follow
    assert fields_of(planned(change), planned()) == named


@pytest.mark.parametrize("both", list(combinations(("workload", "cluster", "targets", "serving"), 2)))
def test_inputs_that_change_together_are_told_apart(both: tuple[str, str]) -> None:
    """Each alone is what a comparison with that change alone finds."""
    old, new = planned(), planned(*both)
    found = compare(old, new)
    assert {change.field for change in found.inputs} == {CHANGES[change][1] for change in both}
    assert {row.field for row in found.alone} == set(both)
    for row in found.alone:
        layout = parse_layout(old.pools[0].layout)
        by_itself = explain(planned(row.field).deployment, layout)
        assert row.old_layout.figures is not None and row.old_layout.figures == by_itself.pool.figures
        if found.winner_changed:
            assert row.winner == planned(row.field).pools[0].layout


def test_the_old_layout_is_priced_under_the_new_inputs() -> None:
    old, new = planned(), planned("workload", "cluster")
    found = compare(old, new)
    assert found.winner_changed and found.old_layout_now is not None
    fares = explain(new.deployment, parse_layout(old.pools[0].layout))
    assert found.old_layout_now.figures == fares.pool.figures
    assert found.old_layout_now.obstacles == fares.obstacles
    assert found.old_inputs_winner == old.pools[0].layout and not found.price_changed
    best, then = new.pools[0].figures, fares.pool.figures
    gain = best.throughput_tokens_per_s.value / then.throughput_tokens_per_s.value - 1
    assert gain > 0.02 and found.verdict == f"the new one has {gain:.1%} more throughput"


def test_an_old_layout_that_cannot_run_now_says_why() -> None:
    old = planned("cluster")
    new = planned("reserve")
    found = compare(old, new)
    assert found.old_layout_now is not None
    assert [row.rule for row in found.old_layout_now.obstacles] == ["gpus"]
    assert found.verdict == "the old one cannot run" and not found.old_layout_now.runs


def test_a_layout_of_experts_has_no_price_without_them() -> None:
    dense = search(deployment(DENSE, 4, engine="vllm", targets={"tpot_ms": 50}))
    old = plan_for(BASE, parse_layout("tp2.dp2/ep4"), reason="asked for")
    found = compare(old, dense)
    assert found.old_layout_now is not None and found.old_layout_now.figures is None
    assert "has no experts" in found.old_layout_now.refused
    assert not found.before.searched and found.old_inputs_winner is None


def test_a_plan_of_a_layout_asked_for_is_no_winner() -> None:
    other = plan_for(BASE, parse_layout("dp4/ep4"), reason="asked for")
    found = compare(planned(), other)
    assert found.verdict == "the deployment asks for the new one" and not found.inputs


def test_what_the_program_learnt_is_told_from_inputs() -> None:
    plan = planned()
    (pool,) = plan.pools
    dearer = pool.figures.model_copy(update={"tpot_s": pool.figures.tpot_s.scaled(1.5)})
    old = plan.model_copy(
        update={"tool_version": "0.0.9", "pools": (pool.model_copy(update={"figures": dearer}),)}
    )
    found = compare(old, plan)
    assert [(row.field, row.before, row.after) for row in found.inputs] == [("tool", "0.0.9", __version__)]
    assert found.price_changed and found.repriced.figures == pool.figures
    assert [row.name for row in found.figures if row.changed] == ["tpot_s"]


def test_targets_and_memory() -> None:
    found = compare(planned(), planned("targets", "workload"))
    assert [(row.name, row.before, row.after, row.met_before) for row in found.targets] == [
        ("ttft_ms", None, 500.0, None)
    ]
    old, new = planned().pools[0].memory, planned("targets", "workload").pools[0].memory
    parts = {row.part: (row.before, row.after) for row in found.memory}
    assert parts["kv"] == (max(r.kv for r in old), max(r.kv for r in new)) and "used" in parts
    assert all(before != after for before, after in parts.values())


@given(st.lists(st.sampled_from(sorted(CHANGES)), unique=True, max_size=4), st.sampled_from(sorted(CHANGES)))
@settings(max_examples=12, deadline=None)
def test_any_two_plans_can_be_compared(changes: list[str], other: str) -> None:
    try:
        old, new = planned(other), planned(*changes)
    except ShardwrightError:
        return
    found = compare(old, new)
    differing = set(changes) ^ {other}
    expected = {CHANGES[change][1] for change in differing}
    named = {change.field for change in found.inputs}
    models = {"model.num_layers", CHANGES["attention"][1]}
    assert named - {"engine"} - models == expected - models
    assert type(found).model_validate_json(found.model_dump_json()) == found
