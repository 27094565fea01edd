"""The fast simulation and the slow reference tell the same of random servers under random loads."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from shardwright.serving.gaps import FIRST_GAP_S, GAPS_AN_E, NUM_GAPS
from shardwright.serving.outcome import Served
from shardwright.serving.simulate import simulate
from tests.serving.cases import Case, random_cases
from tests.serving.reference import Told, play


def told_of(case: Case) -> tuple[Served, Told]:
    """Both answers."""
    (served,) = simulate(case.server, case.requests)
    mine, asked = case.server, case.requests
    told = play(
        mine.times,
        mine.policy,
        mine.host,
        dp=mine.dp,
        pp=mine.pp,
        prompts=asked.length.tolist(),
        answers=asked.answer.tolist(),
        arrivals_s=None if asked.arrivals_s is None else asked.arrivals_s.tolist(),
        in_flight=asked.in_flight,
    )
    return served, told


def classes(told: Told) -> list[int]:
    """Every gap between two tokens, by its class."""
    gaps_s = np.concatenate([np.diff(request.token_s) for request in told.requests])
    found = np.log(np.maximum(gaps_s / FIRST_GAP_S, 1.0)) * GAPS_AN_E
    return np.clip(found, 0, NUM_GAPS - 1).tolist()


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(random_cases())
def test_reference(case: Case) -> None:
    served, told = told_of(case)
    assert served.steps == told.steps
    assert served.restarted == told.restarted
    assert served.duration_s == pytest.approx(told.duration_s, rel=1e-9)
    figures = {
        "sent_s": [request.sent_s for request in told.requests],
        "ready_s": [request.ready_s for request in told.requests],
        "admitted_s": [request.admitted_s for request in told.requests],
        "first_s": [request.token_s[0] for request in told.requests],
        "last_s": [request.token_s[-1] for request in told.requests],
    }
    for name, expected in figures.items():
        np.testing.assert_allclose(getattr(served, name), expected, rtol=1e-9, err_msg=name)
    expected = np.sort(classes(told))
    seen = np.repeat(np.arange(NUM_GAPS), served.gaps.astype(int))
    assert len(seen) == len(expected)
    # Rounded sums: a gap on the edge of a class may fall on either side of it.
    assert np.all((seen <= expected + 1e-6) & (expected < seen + 1 + 1e-6))
