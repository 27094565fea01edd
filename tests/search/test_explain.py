"""Why not: rules with their excess, limits with theirs, and a cure that is itself sound."""

from shardwright.layout.notation import parse_layout
from shardwright.search.explain import explain
from shardwright.search.pool import price_layout
from tests.samples import REFERENCE
from tests.search.test_search import deployment


def test_the_best_layout_needs_no_cure() -> None:
    found = explain(deployment(REFERENCE, 8, engine="vllm"))
    assert found.is_best and found.sound and found.cure is None
    assert all(abs(seconds) < 1e-12 for seconds in found.slower_by_s.values())


def test_an_illegal_layout_names_its_rule_and_a_cure_close_by() -> None:
    given = deployment(REFERENCE, 8, engine="vllm")
    found = explain(given, parse_layout("tp2.dp2/ep2.etp2"))
    assert [breach.rule for breach in found.breaches] == ["ep-derived"] and not found.sound
    assert found.cure is not None
    cured = parse_layout(found.cure.layout.layout)
    assert explain(given, cured).sound
    assert found.cure.changes in {("ep 2 -> 4", "etp 2 -> 1"), ("ep 2 -> 1", "etp 2 -> 4")}


def test_a_layout_that_does_not_fit_says_by_how_much() -> None:
    given = deployment(REFERENCE, 8, workload={"batch": 512, "input_tokens": 3000, "output_tokens": 500})
    layout = parse_layout("tp1/ep1")
    found = explain(given, layout)
    over = float(price_layout(given, layout).over_budget_bytes) / 1e9
    assert found.over_memory_gb == over > 0 and found.rank is None
    assert found.cure is not None and found.cure.layout.num_gpus > 1


def test_a_worse_layout_is_ranked_and_its_time_compared() -> None:
    given = deployment(REFERENCE, 8, engine="vllm")
    found = explain(given, parse_layout("tp2.dp2.pp2/ep4"))
    assert found.sound and not found.is_best
    assert found.rank is not None and 1 < found.rank <= found.num_fitting
    assert found.best is not None
    total = sum(found.pool.seconds_by_family.values()) - sum(found.best.seconds_by_family.values())
    assert abs(sum(found.slower_by_s.values()) - total) < 1e-12
