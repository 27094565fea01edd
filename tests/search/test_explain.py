"""Why not: rules with their excess, limits with theirs, and a cure that is itself sound."""

import pytest

from shardwright.errors import InputError
from shardwright.layout.notation import parse_layout
from shardwright.search.explain import explain
from shardwright.search.search import NoLayoutError, plan_for, search
from shardwright.search.timing import price_layout
from tests.samples import REFERENCE
from tests.search.test_search import deployment


def test_the_best_layout_needs_no_cure() -> None:
    found = explain(deployment(REFERENCE, 8, engine="vllm"))
    assert found.is_best and found.sound and found.cure is None
    assert all(abs(seconds) < 1e-12 for seconds in found.slower_by_s.values())


def test_an_illegal_layout_names_its_rule_and_a_cure_close_by() -> None:
    given = deployment(REFERENCE, 8, engine="vllm")
    found = explain(given, parse_layout("tp2.dp2/ep2.etp2"))
    assert [breach.rule for breach in found.obstacles] == ["ep-derived"] and not found.sound
    assert found.cure is not None
    cured = parse_layout(found.cure.layout.layout)
    assert explain(given, cured).sound
    assert found.cure.changes in {("ep 2 -> 4", "etp 2 -> 1"), ("ep 2 -> 1", "etp 2 -> 4")}


def test_a_layout_that_does_not_fit_says_by_how_much() -> None:
    given = deployment(REFERENCE, 8, workload={"batch": 512, "input_tokens": 3000, "output_tokens": 500})
    layout = parse_layout("tp1/ep1")
    found = explain(given, layout)
    over = float(price_layout(given, layout).over_budget_bytes) / 1e9
    (obstacle,) = found.obstacles
    assert obstacle.rule == "memory" and obstacle.excess == over > 0 and found.rank is None
    assert found.cure is not None and found.cure.layout.num_gpus > 1


def test_a_worse_layout_is_ranked_and_its_time_compared() -> None:
    given = deployment(REFERENCE, 8, engine="vllm")
    found = explain(given, parse_layout("tp2.dp2.pp2/ep4"))
    assert found.sound and not found.is_best
    assert found.rank is not None and 1 < found.rank <= found.num_fitting
    assert found.best is not None
    total = sum(found.pool.seconds_by_family.values()) - sum(found.best.seconds_by_family.values())
    assert abs(sum(found.slower_by_s.values()) - total) < 1e-12


def test_a_request_of_max_model_len_must_fit() -> None:
    """Small load, long limit: what search refuses, explain and plan refuse too."""
    given = deployment(
        "Llama-3.3-70B-Instruct",
        2,
        engine="vllm",
        workload={"batch": 1, "input_tokens": 10, "output_tokens": 10, "max_model_len": 131072},
    )
    with pytest.raises(NoLayoutError):
        search(given)
    found = explain(given, parse_layout("tp2"))
    assert [row.rule for row in found.obstacles] == ["max_model_len"] and not found.sound


def test_the_reserve_is_set_aside_everywhere() -> None:
    given = deployment(REFERENCE, 8, reserve={"gpus": 4}, targets={"tpot_ms": 1000})
    layout = parse_layout("tp8/ep8")
    assert [row.rule for row in explain(given, layout).obstacles] == ["gpus"]
    plan = plan_for(given, layout, reason="asked for")
    assert not plan.met and all(check.met for check in plan.targets)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("tp64/ep64", "heads"),
        ("tp2.dp2.pp2+ep4", "home"),
        ("tp1/ep1.x16", "gpus"),
        ("dp3/ep3.x4", "straddle"),
        ("dp8/ep8.x4", "idle"),
    ],
)
def test_what_cannot_run_is_never_met(text: str, rule: str) -> None:
    given = deployment(REFERENCE, 12, engine="vllm", targets={"tpot_ms": 1000})
    plan = plan_for(given, parse_layout(text), reason="asked for")
    assert rule in {row.rule for row in plan.obstacles} and not plan.met


def test_no_cure_is_itself() -> None:
    """With a target that nothing meets, a cure misses by less; the best layout has none."""
    given = deployment(REFERENCE, 8, engine="vllm", targets={"tpot_ms": 0.01})
    best = explain(given)
    assert best.cure is None and not best.sound
    worse = explain(given, parse_layout("tp2.dp2.pp2/ep4"))
    assert worse.cure is not None and worse.cure.changes and worse.cure.layout.layout != worse.layout


def test_stated_stages_must_hold_the_model() -> None:
    with pytest.raises(InputError, match="16 layers"):
        explain(deployment(REFERENCE, 8), parse_layout("tp4.pp2:8:9/ep4"))
