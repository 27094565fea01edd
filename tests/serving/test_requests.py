"""What clients ask: distributions, seeds, and who asks which copy."""

import numpy as np
import pytest
from pydantic import ValidationError

from shardwright.serving.requests import Lengths, Requests, closed_loop, open_loop, static_batch

SHORT, LONG = Lengths(low=5, high=15), Lengths(low=100, high=300)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_are_gamma(burstiness: float) -> None:
    """Mean 1 / rate, variance 1 / (burstiness rate^2): to four standard errors."""
    rate, count = 20.0, 200_000
    requests = open_loop(rate, SHORT, LONG, num_requests=count, burstiness=burstiness)
    assert requests.arrivals_s is not None
    gaps_s = np.diff(requests.arrivals_s, prepend=0.0)
    variance = 1 / (burstiness * rate**2)
    assert abs(gaps_s.mean() - 1 / rate) < 4 * np.sqrt(variance / count)
    # Of a gamma distribution the excess kurtosis is 6 / shape.
    error = variance * np.sqrt((2 + 6 / burstiness) / count)
    assert abs(gaps_s.var() - variance) < 4 * error
    assert np.all(gaps_s >= 0)
    assert requests.in_flight == 0


def test_poisson() -> None:
    """Gaps of shape 1 are exponential: the largest distance to its distribution passes Kolmogorov's test."""
    count = 100_000
    arrivals_s = open_loop(3.0, SHORT, LONG, num_requests=count).arrivals_s
    assert arrivals_s is not None
    gaps_s = np.sort(np.diff(arrivals_s, prepend=0.0))
    distance = np.abs((1 - np.exp(-3.0 * gaps_s)) - (np.arange(count) + 0.5) / count).max()
    assert distance < 1.63 / np.sqrt(count)  # 1 % level


def test_lengths() -> None:
    """Every length from low to high as often as any other, both ends included."""
    requests = static_batch(110_000, SHORT, LONG)
    values, counts = np.unique(requests.length, return_counts=True)
    assert values.tolist() == list(range(5, 16))
    assert np.abs(counts / 10_000 - 1).max() < 0.05
    assert (requests.answer.min(), requests.answer.max()) == (100, 300)
    assert requests.answer.mean() == pytest.approx(LONG.mean, rel=0.01)
    assert abs(np.corrcoef(requests.length, requests.answer)[0, 1]) < 0.015
    exact = static_batch(10, Lengths.exactly(7), Lengths.exactly(9))
    assert (set(exact.length), set(exact.answer)) == ({7}, {9})


def test_low_above_high() -> None:
    with pytest.raises(ValidationError, match="low 3 is above high 2"):
        Lengths(low=3, high=2)


def test_seeds() -> None:
    """The same seed, the same requests; another, others; the rate changes none but the arrivals."""

    def drawn(rate: float = 2.0, seed: int = 0) -> Requests:
        return open_loop(rate, SHORT, LONG, num_requests=100, seed=seed)

    for name in ("length", "answer", "arrivals_s"):
        assert np.array_equal(getattr(drawn(), name), getattr(drawn(), name))
        assert not np.array_equal(getattr(drawn(), name), getattr(drawn(seed=1), name))
    faster = drawn(rate=4.0)
    assert np.array_equal(faster.length, drawn().length)
    assert faster.arrivals_s == pytest.approx(np.asarray(drawn().arrivals_s) / 2)


def test_counts() -> None:
    """Ten requests a client in a closed loop unless stated; all at once in a static batch."""
    assert len(closed_loop(7, SHORT, LONG).length) == 70
    assert len(closed_loop(7, SHORT, LONG, num_requests=9).length) == 9
    assert closed_loop(7, SHORT, LONG).in_flight == 7
    assert static_batch(7, SHORT, LONG).in_flight == len(static_batch(7, SHORT, LONG).length) == 7


@pytest.mark.parametrize("copies", [1, 3, 4, 100])
@pytest.mark.parametrize(
    "requests",
    [closed_loop(5, SHORT, LONG), static_batch(3, SHORT, LONG), open_loop(1, SHORT, LONG, num_requests=37)],
    ids=["closed", "static", "open"],
)
def test_copies_get_all(requests: Requests, copies: int) -> None:
    """Each request goes to one copy, each client to one; no copy has requests but no client to send them."""
    parts = [requests.of_copy(copy, copies) for copy in range(copies)]
    for name in ("length", "answer", "arrivals_s"):
        whole = getattr(requests, name)
        if whole is not None:
            together = np.concatenate([getattr(part, name) for part in parts])
            assert sorted(together) == sorted(whole)
    assert sum(part.in_flight for part in parts) == requests.in_flight
    sizes = [len(part.length) for part in parts if len(part.length)]
    assert max(sizes) - min(sizes) <= 1
    if requests.arrivals_s is None:
        assert all((part.in_flight > 0) == (len(part.length) > 0) for part in parts)
