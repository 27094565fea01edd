"""Figures of clients against numpy on every request and every gap."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from shardwright.serving.gaps import GAPS_AN_E
from shardwright.serving.outcome import Served, Spread, outcome_of
from shardwright.serving.requests import Lengths, closed_loop, open_loop
from shardwright.serving.simulate import simulate
from shardwright.workload.workload import Targets
from tests.serving.cases import Case, flat_times, random_cases, server
from tests.serving.test_reference import told_of

HALF_A_CLASS = np.expm1(0.5 / GAPS_AN_E)


def spread(values: np.ndarray) -> Spread:
    """As numpy has it."""
    p50, p90, p99 = np.percentile(values, [50, 90, 99]).tolist()
    return Spread(mean=float(np.mean(values)), p50=p50, p90=p90, p99=p99)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(random_cases())
def test_figures(case: Case) -> None:
    """Of one copy: all from the tokens of the reference."""
    served, told = told_of(case)
    outcome, requests = outcome_of([served]), told.requests
    wanted = np.array([request.wanted for request in requests])
    first_s, last_s = (np.array([request.token_s[at] for request in requests]) for at in (0, -1))
    sent_s = np.array([request.sent_s for request in requests])
    assert outcome.num_requests == len(requests)
    assert outcome.requests_per_s == pytest.approx(len(requests) / told.duration_s)
    assert outcome.output_tokens_per_s == pytest.approx(wanted.sum() / told.duration_s)
    prompts = sum(request.prompt for request in requests)
    assert outcome.total_tokens_per_s == pytest.approx((wanted.sum() + prompts) / told.duration_s)
    assert (outcome.steps, outcome.restarted) == (told.steps, told.restarted)
    several = wanted > 1
    close(outcome.ttft_s, spread(first_s - sent_s), 1e-9)
    close(outcome.e2e_s, spread(last_s - sent_s), 1e-9)
    if not several.any():
        assert outcome.tpot_s is None
        assert outcome.itl_s is None
        return
    assert outcome.tpot_s is not None
    assert outcome.itl_s is not None
    close(outcome.tpot_s, spread((last_s - first_s)[several] / (wanted - 1)[several]), 1e-9)
    gaps_s = np.concatenate([np.diff(request.token_s) for request in requests])
    p50, p90, p99 = np.percentile(gaps_s, [50, 90, 99], method="inverted_cdf").tolist()
    close(outcome.itl_s, Spread(mean=float(gaps_s.mean()), p50=p50, p90=p90, p99=p99), HALF_A_CLASS + 1e-9)


def close(found: Spread, expected: Spread, rel: float) -> None:
    """All four figures."""
    for name in Spread.model_fields:
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=rel), name


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(random_cases())
def test_parts_of_ttft(case: Case) -> None:
    """They add up to it; the queue of the first wave and of those that came later add up to the queue."""
    (served,) = simulate(case.server, case.requests)
    outcome = outcome_of([served])
    parts, count = outcome.first_token, outcome.num_requests
    assert parts.api_s + parts.queue_s + parts.prefill_s == pytest.approx(outcome.ttft_s.mean, rel=1e-12)
    wave = 0 if case.requests.arrivals_s is not None else min(case.requests.in_flight, count)
    if 0 < wave < count:
        assert parts.first_wave_queue_s is not None
        assert parts.later_queue_s is not None
        whole = (wave * parts.first_wave_queue_s + (count - wave) * parts.later_queue_s) / count
        assert whole == pytest.approx(parts.queue_s, rel=1e-9, abs=1e-15)
    else:
        assert parts.first_wave_queue_s is None
        assert parts.later_queue_s is None


def test_a_stalled_sequence_waits_for_prompts_too() -> None:
    """SGLang's way: while a rank fills a prompt its sequences stand still, and that is a gap of theirs."""
    times = flat_times(0.01, prompt_token_s=0.001)
    requests = open_loop(5, Lengths.exactly(100), Lengths.exactly(50), num_requests=200)
    (served,) = simulate(server(times, mixes=False), requests)
    outcome = outcome_of([served])
    assert outcome.itl_s is not None
    total_s = (served.last_s - served.first_s).sum()
    assert outcome.itl_s.mean * served.gaps.sum() == pytest.approx(total_s, rel=HALF_A_CLASS)
    assert outcome.itl_s.p50 == pytest.approx(0.01, rel=HALF_A_CLASS)
    assert outcome.itl_s.p99 >= 0.01 + (0.01 + 0.1) * (1 - HALF_A_CLASS)


def test_goodput() -> None:
    """Requests that meet every target there is; one token has no TPOT to miss."""
    steps = np.array([0.01, 0.02, 0.03, 0.04])
    answer = np.array([11, 11, 1, 11])
    zeros = np.zeros(4)
    first_s = np.array([0.1, 0.2, 0.3, 0.1])
    served = Served(
        sent_s=zeros,
        ready_s=zeros,
        admitted_s=zeros,
        first_s=first_s,
        last_s=first_s + steps * (answer - 1),
        length=np.ones(4, dtype=np.int64),
        answer=answer,
        gaps=np.zeros(2100),
        duration_s=2.0,
        steps=1,
        restarted=0,
        in_flight=4,
    )

    def goodput(**targets: float) -> float | None:
        return outcome_of([served], Targets(**targets)).goodput_per_s

    assert outcome_of([served]).goodput_per_s is None
    assert goodput(throughput_tokens_per_s=5) is None
    assert goodput(ttft_ms=250) == 3 / 2
    assert goodput(tpot_ms=25) == 3 / 2
    assert goodput(tpot_ms=25, ttft_ms=150) == 1 / 2
    assert goodput(tpot_ms=1, ttft_ms=1) == 0


def test_copies() -> None:
    """Copies that are asked the same add up: rates twice as high, times the same."""
    loop = closed_loop(8, Lengths.exactly(10), Lengths.exactly(20))
    one = outcome_of(simulate(server(flat_times(0.01)), loop))
    twice = closed_loop(16, Lengths.exactly(10), Lengths.exactly(20))
    two = outcome_of(simulate(server(flat_times(0.01), copies=2), twice))
    assert two.num_requests == 2 * one.num_requests
    assert two.duration_s == one.duration_s
    assert two.output_tokens_per_s == pytest.approx(2 * one.output_tokens_per_s)
    for name in ("ttft_s", "tpot_s", "itl_s", "e2e_s"):
        close(getattr(two, name), getattr(one, name), 1e-12)


def test_more_copies_than_clients() -> None:
    """The copies that no client asks stand idle; the others serve all."""
    few = closed_loop(2, Lengths.exactly(10), Lengths.exactly(20))
    found = simulate(server(flat_times(0.01), copies=5), few)
    assert [len(copy.length) for copy in found] == [10, 10]
    alone = outcome_of(simulate(server(flat_times(0.01), copies=2), few))
    assert outcome_of(found) == alone
