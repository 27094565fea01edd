"""Simulated queues against queueing theory."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shardwright.cost.host import Host
from shardwright.serving.outcome import Served
from shardwright.serving.requests import Lengths, Requests, open_loop, static_batch
from shardwright.serving.server import Server
from shardwright.serving.simulate import simulate
from tests.serving.cases import Case, flat_times, random_cases, server

LOADS = (0.3, 0.6, 0.75)
MANY = 60_000


def queued_s(served: Served) -> float:
    """Mean seconds between arrival and service."""
    return float((served.admitted_s - served.sent_s).mean())


def only(server: Server, requests: Requests) -> Served:
    """What becomes of the requests of the only copy."""
    (served,) = simulate(server, requests)
    return served


@pytest.mark.parametrize("load", LOADS)
def test_one_at_a_time_alike(load: float) -> None:
    """M/D/1: of requests that take S each, one waits load S / (2 (1 - load)) (Pollaczek, Khinchine)."""
    one_by_one = server(flat_times(0.01), most_sequences=1)
    service_s = 5 * 0.01
    requests = open_loop(load / service_s, Lengths.exactly(10), Lengths.exactly(5), num_requests=MANY, seed=3)
    expected_s = load * service_s / (2 * (1 - load))
    assert queued_s(only(one_by_one, requests)) == pytest.approx(expected_s, rel=0.05)


@pytest.mark.parametrize("load", LOADS)
def test_one_at_a_time_unlike(load: float) -> None:
    """M/G/1: one waits rate E[S^2] / (2 (1 - load)), S = a (answer) + b (prompt), both drawn evenly."""
    step_s, token_s = 0.01, 0.001
    one_by_one = server(flat_times(step_s, prompt_token_s=token_s), most_sequences=1)
    answers, prompts = Lengths(low=1, high=39), Lengths(low=1, high=499)
    mean_s = step_s * answers.mean + token_s * prompts.mean
    variance = step_s**2 * (39**2 - 1) / 12 + token_s**2 * (499**2 - 1) / 12
    requests = open_loop(load / mean_s, prompts, answers, num_requests=MANY, seed=5)
    expected_s = (load / mean_s) * (mean_s**2 + variance) / (2 * (1 - load))
    assert queued_s(only(one_by_one, requests)) == pytest.approx(expected_s, rel=0.05)


def test_room_for_all() -> None:
    """M/D/infinity, by steps: nobody queues longer than the step under way, half of one on average."""
    everybody = server(flat_times(0.01), most_sequences=10_000, most_tokens=1 << 20)
    requests = open_loop(200, Lengths.exactly(1), Lengths.exactly(50), num_requests=20_000)
    served = only(everybody, requests)
    queue_s = served.admitted_s - served.sent_s
    assert queue_s.max() <= 0.01 + 1e-9
    assert queue_s.mean() == pytest.approx(0.005, rel=0.02)
    assert served.last_s - served.admitted_s == pytest.approx(50 * 0.01, rel=1e-6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(random_cases())
def test_laws_of_every_server(case: Case) -> None:
    """Little's law over the whole of the run, and every token given out once, in order."""
    served = only(case.server, case.requests)
    count = len(served.sent_s)
    instants = np.sort(np.concatenate([served.sent_s, served.last_s]))
    middles = (instants[1:] + instants[:-1]) / 2
    present = (served.sent_s <= middles[:, None]) & (middles[:, None] < served.last_s)
    mean_present = (present.sum(axis=1) * np.diff(instants)).sum() / served.duration_s
    rate, mean_s = count / served.duration_s, (served.last_s - served.sent_s).mean()
    assert mean_present == pytest.approx(rate * mean_s, rel=1e-9)
    assert served.gaps.sum() == served.answer.sum() - count
    order = [served.sent_s, served.ready_s, served.admitted_s, served.first_s, served.last_s]
    for before, after in pairwise(order):
        assert np.all(before <= after)
    assert served.last_s.max() == pytest.approx(served.duration_s, rel=1e-12)
    assert np.all((served.last_s > served.first_s) == (served.answer > 1))
    if case.requests.arrivals_s is None:
        assert present.sum(axis=1).max() <= case.requests.in_flight
    else:
        np.testing.assert_array_equal(served.sent_s, case.requests.arrivals_s)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(random_cases(), st.integers(0, 1 << 30))
def test_faster_is_never_slower(case: Case, seed: int) -> None:
    """Of a static batch the lengths alone decide who runs when: with every entry of the tables lowered each
    token comes sooner, and with a dearer step on the host later."""
    times, requests, generator = case.server.times, case.requests, np.random.default_rng(seed)
    batch = Requests(length=requests.length, answer=requests.answer, in_flight=len(requests.length))
    seconds = {name: getattr(times, name) for name in times._fields if name.endswith("_s")}
    lower = {name: values * generator.uniform(0.3, 1, values.shape) for name, values in seconds.items()}
    usual = replace(case.server, host=Host())
    served = only(usual, batch)
    fast = only(replace(usual, times=times._replace(**lower)), batch)
    late = only(replace(usual, host=Host(step_s=0.01, sequence_s=1e-3)), batch)
    assert fast.steps == served.steps == late.steps
    assert fast.restarted == served.restarted == late.restarted
    assert np.all(fast.first_s <= served.first_s) and np.all(fast.last_s <= served.last_s)
    assert np.all(late.first_s > served.first_s) and np.all(late.last_s > served.last_s)
    assert late.duration_s >= served.duration_s + 0.011 * served.steps - 1e-9


def test_room_for_more_is_never_slower() -> None:
    """Where a step costs the same however many run, more sequences at once end a static batch sooner."""
    batch = static_batch(40, Lengths(low=1, high=20), Lengths(low=1, high=30), seed=1)
    durations = [
        only(server(flat_times(0.01), most_sequences=sequences), batch).duration_s
        for sequences in (1, 2, 4, 8, 16, 40)
    ]
    assert durations == sorted(durations, reverse=True)
    assert durations[0] == pytest.approx(0.01 * batch.answer.sum(), rel=1e-9)
    assert durations[-1] == pytest.approx(0.01 * batch.answer.max(), rel=1e-9)
