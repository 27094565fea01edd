"""Ranking by the probability to meet the targets, and that a target binds."""

from functools import cache
from itertools import product

import numpy as np
import pytest

from shardwright.errors import InputError
from shardwright.model.spec import ModelSpec
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Figures, Plan
from shardwright.report.document import Paragraph
from shardwright.report.plan_document import plan_document
from shardwright.search.likely import likely
from shardwright.search.search import plan_for, ranked, search
from shardwright.units import GB, format_probability, format_seconds
from tests.samples import DENSE, SMALL_MOE
from tests.search.test_search import deployment


def asked(**fields: object) -> Deployment:
    return deployment(SMALL_MOE, 8, **{"engine": "vllm", "objective": "probability", **fields})


@cache
def figures() -> Figures:
    """Of the layout with most tokens a second, whatever it rests on."""
    return search(asked(objective="throughput_per_gpu")).pools[0].figures


def targets(*names: str) -> dict[str, float]:
    """A little looser than what that layout reaches: none is sure."""
    found = {
        "tpot_ms": figures().tpot_s.value * 1e3 * 1.1,
        "ttft_ms": figures().ttft_s.value * 1e3 * 1.2,
        "throughput_tokens_per_s": figures().throughput_tokens_per_s.value * 0.9,
    }
    return {name: found[name] for name in names or found}


def least(plan: Plan) -> float:
    names = ("tpot_ms", "ttft_ms", "throughput_tokens_per_s")
    return min(check.probability for check in plan.targets if check.name in names)


@pytest.mark.parametrize("names", [(), ("tpot_ms",), ("ttft_ms",), ("throughput_tokens_per_s",)])
def test_every_row_is_as_likely_as_its_plan_says(names: tuple[str, ...]) -> None:
    """The array against the estimates of each layout, one node and two, with a pipeline and without."""
    given = asked(targets=targets(*names))
    table, ranking = ranked(given)
    found = likely(given, table)
    rows = [int(row) for row in ranking.order[:: max(1, len(ranking.order) // 12)]]
    assert {table.layout(row).pp > 1 for row in rows} == {False, True}
    compared = 0
    for row in rows:
        plan = plan_for(given, table.layout(row), reason="asked", timing=table.played.get(row))
        if plan.pools[0].figures.tpot_s.value == pytest.approx(table.columns["tpot_s"][row], rel=1e-9):
            assert found[row] == pytest.approx(least(plan), abs=2e-4)
            compared += 1
    assert compared > len(rows) / 2, "the others overlap better than their row says"
    assert np.ptp(found[ranking.order]) > 0.01


def test_the_likeliest_of_those_that_meet_all_targets_comes_first() -> None:
    _, ranking = ranked(asked(targets=targets()))
    assert ranking.likely is not None
    meets = ranking.misses[ranking.order] <= 1
    assert list(meets) == sorted(meets, reverse=True)
    odds = np.round(ranking.likely[ranking.order], 2)
    for part in (odds[meets], odds[~meets]):
        assert list(part) == sorted(part, reverse=True)
    taken = search(asked(targets=targets()))
    assert taken.met
    assert least(taken) == pytest.approx(odds[0], abs=0.006)


def test_even_odds_are_the_target_itself() -> None:
    """A row is likelier than not exactly where its predicted figures meet the targets."""
    _, ranking = ranked(asked(targets=targets()))
    assert ranking.likely is not None
    is_even = np.abs(ranking.likely - 0.5) < 1e-6
    assert ((ranking.likely > 0.5) == (ranking.misses <= 1))[~is_even].all()


def test_another_target_never_makes_it_likelier() -> None:
    few, more = asked(targets=targets("tpot_ms")), asked(targets=targets())
    table, _ = ranked(few)
    assert (likely(more, table) <= likely(few, table) + 1e-12).all()


@pytest.mark.parametrize("stated", [{}, {"memory_gb": 40}, {"communication_fraction": 0.3}])
def test_without_a_target_of_clients_there_is_nothing_to_be_likely(stated: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"objective: 'probability' is not allowed; .* tpot_ms, ttft_ms"):
        asked(targets=stated)


def test_the_report_says_how_likely_each_target_is() -> None:
    plan = search(asked(targets=targets("tpot_ms", "ttft_ms")))
    (said,) = (item.text for block in plan_document(plan) for item in _items(block) if item.label == "Likely")
    tpot, ttft = (format_probability(check.probability) for check in plan.targets)
    both = format_probability(min(check.probability for check in plan.targets))
    stated = plan.deployment.targets
    assert stated.tpot_ms is not None and stated.ttft_ms is not None
    assert said == (
        f"meets TPOT {format_seconds(stated.tpot_ms / 1e3)}: {tpot}; "
        f"TTFT {format_seconds(stated.ttft_ms / 1e3)}: {ttft}; "
        f"all of them: {both}, as the least likely, for their errors are common"
    )
    assert "Likely" not in _labels(search(asked(targets=targets(), objective="latency")))


def _items(block: object) -> list:
    return [item for item in getattr(block, "items", ()) if not isinstance(item, str)]


def _labels(plan: Plan) -> set[str]:
    return {item.label for block in plan_document(plan) for item in _items(block)}


OBJECTIVES = ("throughput_per_gpu", "latency", "fewest_gpus", "probability")
TIGHTNESS = (0.3, 0.95, 1.05, 3.0)
ORDER = ("tpot_ms", "ttft_ms", "throughput_tokens_per_s", "memory_gb")
"""In which a plan lists its targets."""


@pytest.mark.parametrize("model", [SMALL_MOE, DENSE], ids=lambda model: model.name)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_target_binds(model: ModelSpec, objective: str) -> None:
    """No plan that misses a target at its predicted value is shown as met, however near it is."""
    plain = deployment(model, 4, engine="vllm")
    first = search(plain).pools[0].figures
    figure_of = {
        "tpot_ms": lambda f: f.tpot_s.value * 1e3,
        "ttft_ms": lambda f: f.ttft_s.value * 1e3,
        "throughput_tokens_per_s": lambda f: f.throughput_tokens_per_s.value,
        "memory_gb": lambda f: f.memory_bytes.value / GB,
    }
    for name, by in product(figure_of, TIGHTNESS):
        asked_for = {each: figure_of[each](first) * by for each in ORDER if each in (name, "tpot_ms")}
        plan = search(deployment(model, 4, engine="vllm", objective=objective, targets=asked_for))
        found = plan.pools[0].figures
        misses = [
            figure_of[target](found) < limit * (1 - 1e-12)
            if target == "throughput_tokens_per_s"
            else figure_of[target](found) > limit * (1 + 1e-12)
            for target, limit in asked_for.items()
        ]
        assert plan.met == (not any(misses))
        assert [not check.met for check in plan.targets] == misses
        (answer,) = [b for b in plan_document(plan)[:3] if isinstance(b, Paragraph)]
        assert answer.status == ("met" if plan.met else "missed")
