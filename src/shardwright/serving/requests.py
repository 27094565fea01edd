"""What clients ask of a server: how long their requests are, and when they come."""

from dataclasses import dataclass

import numpy as np
from pydantic import model_validator

from shardwright.record import Count, Record
from shardwright.serving.house import Ints
from shardwright.serving.times import Floats
from shardwright.workload.workload import REQUESTS_A_CLIENT


class Lengths(Record):
    """Tokens, drawn evenly from low to high, both included."""

    low: Count
    high: Count

    @model_validator(mode="after")
    def _ascending(self) -> "Lengths":
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self

    @classmethod
    def exactly(cls, tokens: int) -> "Lengths":
        """Always so many."""
        return cls(low=tokens, high=tokens)

    @classmethod
    def around(cls, tokens: int, spread: float) -> "Lengths":
        """From 1 - spread to 1 + spread of a mean.

        >>> Lengths.around(100, 0.1)
        Lengths(low=90, high=110)
        """
        width = int(tokens * spread)
        return cls(low=max(1, tokens - width), high=tokens + width)

    @property
    def mean(self) -> float:
        """Of many draws."""
        return (self.low + self.high) / 2


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Requests in the order in which they are sent. length, answer: tokens of prompt and answer.

    arrivals_s: when each is sent, ascending. Without them `in_flight` are sent at once, and one more as each
    of them ends.
    """

    length: Ints
    answer: Ints
    arrivals_s: Floats | None = None
    in_flight: int = 0

    @property
    def key(self) -> object:
        """Equal where the requests are."""
        arrivals_s = None if self.arrivals_s is None else self.arrivals_s.tobytes()
        return self.length.tobytes(), self.answer.tobytes(), arrivals_s, self.in_flight

    def of_copy(self, copy: int, copies: int) -> "Requests":
        """Those of one of several copies, dealt out in turn; a copy that no client asks has none."""
        turns = copies if self.arrivals_s is not None else min(copies, self.in_flight)
        mine = slice(copy, None, turns) if copy < turns else slice(0)
        # Copied, for a view with gaps would be another type to numba, and compiled anew.
        return Requests(
            length=self.length[mine].copy(),
            answer=self.answer[mine].copy(),
            arrivals_s=None if self.arrivals_s is None else self.arrivals_s[mine].copy(),
            in_flight=len(range(copy, self.in_flight, turns)),
        )


def closed_loop(
    concurrency: int, prompt: Lengths, answer: Lengths, *, num_requests: int | None = None, seed: int = 0
) -> Requests:
    """So many clients, each with one request in flight; ten requests a client where not stated."""
    count = concurrency * REQUESTS_A_CLIENT if num_requests is None else num_requests
    return _drawn(count, prompt, answer, seed, in_flight=concurrency)


def static_batch(batch: int, prompt: Lengths, answer: Lengths, *, seed: int = 0) -> Requests:
    """All sent at once, none after them."""
    return _drawn(batch, prompt, answer, seed, in_flight=batch)


def open_loop(
    rate_per_s: float,
    prompt: Lengths,
    answer: Lengths,
    *,
    num_requests: int,
    burstiness: float = 1.0,
    seed: int = 0,
) -> Requests:
    """Sent whatever becomes of the others, with gaps of a gamma distribution of mean 1 / rate.

    burstiness: its shape, 1 for a Poisson process, below for bursts (as `vllm bench serve --burstiness`).
    """
    generator = np.random.default_rng(seed + 1)
    gaps_s = generator.gamma(burstiness, 1 / (rate_per_s * burstiness), num_requests)
    return _drawn(num_requests, prompt, answer, seed, arrivals_s=np.cumsum(gaps_s))


def _drawn(
    count: int,
    prompt: Lengths,
    answer: Lengths,
    seed: int,
    *,
    arrivals_s: Floats | None = None,
    in_flight: int = 0,
) -> Requests:
    generator = np.random.default_rng(seed)
    length, tokens = (
        generator.integers(lengths.low, lengths.high, size=count, endpoint=True)
        for lengths in (prompt, answer)
    )
    return Requests(length=length, answer=tokens, arrivals_s=arrivals_s, in_flight=in_flight)
