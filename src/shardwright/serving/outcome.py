"""What clients measured of a simulated load."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardwright.record import Record
from shardwright.serving.gaps import FIRST_GAP_S, GAPS_AN_E
from shardwright.serving.times import Floats
from shardwright.workload.workload import Targets


class Spread(Record):
    """Of one figure over all requests (or all gaps between tokens), in seconds."""

    mean: float
    p50: float
    p90: float
    p99: float


class FirstToken(Record):
    """Mean seconds of TTFT by where they went.

    api: until the scheduler sees the request. queue: until it is taken up. prefill: until its first token.
    first_wave: the queue of those that were sent at once at the start, and later: of all that came after.
    """

    api_s: float
    queue_s: float
    prefill_s: float
    first_wave_queue_s: float | None = None
    later_queue_s: float | None = None


class Outcome(Record):
    """A simulated load, as its clients see it. A prediction.

    output_tokens_per_s, total_tokens_per_s: over the whole of duration_s, ramp and tail included.
    tpot_s: of requests with two tokens at least. itl_s: each gap between two tokens counts. restarted:
    requests put back for lack of KV. goodput_per_s: requests a second that meet the targets, where there are
    some.
    """

    num_requests: int
    duration_s: float
    requests_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    ttft_s: Spread
    tpot_s: Spread | None
    itl_s: Spread | None
    e2e_s: Spread
    first_token: FirstToken
    restarted: int
    steps: int
    goodput_per_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Served:
    """What became of the requests of one copy: arrays over them, in seconds. gaps: by class, counts."""

    sent_s: Floats
    ready_s: Floats
    admitted_s: Floats
    first_s: Floats
    last_s: Floats
    length: NDArray[np.int64]
    answer: NDArray[np.int64]
    gaps: Floats
    duration_s: float
    steps: int
    restarted: int
    in_flight: int


def outcome_of(copies: Sequence[Served], targets: Targets | None = None) -> Outcome:
    """The figures of all copies together."""

    def column(name: str) -> Floats:
        return np.concatenate([getattr(copy, name) for copy in copies])

    sent, ready, admitted = column("sent_s"), column("ready_s"), column("admitted_s")
    first, last, answer = column("first_s"), column("last_s"), column("answer")
    ttft, e2e = first - sent, last - sent
    several = answer > 1
    tpot = (last - first)[several] / (answer[several] - 1)
    queue = admitted - ready
    at_once = np.concatenate([np.arange(len(copy.sent_s)) < copy.in_flight for copy in copies])
    is_wave = bool(at_once.any() and not at_once.all())
    duration_s = max(copy.duration_s for copy in copies)
    good: float | None = None
    if targets is not None and (targets.ttft_ms is not None or targets.tpot_ms is not None):
        meets = ttft <= (targets.ttft_ms or np.inf) * 1e-3
        meets[several] &= tpot <= (targets.tpot_ms or np.inf) * 1e-3
        good = float(meets.sum() / duration_s)
    return Outcome(
        num_requests=len(sent),
        duration_s=duration_s,
        requests_per_s=len(sent) / duration_s,
        output_tokens_per_s=float(answer.sum() / duration_s),
        total_tokens_per_s=float((answer.sum() + column("length").sum()) / duration_s),
        ttft_s=_spread(ttft),
        tpot_s=_spread(tpot) if len(tpot) else None,
        itl_s=_gaps(np.sum([copy.gaps for copy in copies], axis=0)),
        e2e_s=_spread(e2e),
        first_token=FirstToken(
            api_s=float((ready - sent).mean()),
            queue_s=float(queue.mean()),
            prefill_s=float((first - admitted).mean()),
            first_wave_queue_s=float(queue[at_once].mean()) if is_wave else None,
            later_queue_s=float(queue[~at_once].mean()) if is_wave else None,
        ),
        restarted=sum(copy.restarted for copy in copies),
        steps=max(copy.steps for copy in copies),
        goodput_per_s=good,
    )


def _spread(values: Floats) -> Spread:
    # As np.percentile, whose checks take ten times as long.
    places = np.array((0.5, 0.9, 0.99)) * (len(values) - 1)
    p50, p90, p99 = np.interp(places, np.arange(len(values)), np.sort(values)).tolist()
    return Spread(mean=float(values.mean()), p50=p50, p90=p90, p99=p99)


def _gaps(counts: Floats) -> Spread | None:
    """Of gaps counted in classes, each taken for its middle."""
    total = counts.sum()
    if not total:
        return None
    middle = FIRST_GAP_S * np.exp((np.arange(len(counts)) + 0.5) / GAPS_AN_E)
    below = np.cumsum(counts) / total
    p50, p90, p99 = (float(middle[np.searchsorted(below, share)]) for share in (0.5, 0.9, 0.99))
    return Spread(mean=float(counts @ middle / total), p50=p50, p90=p90, p99=p99)
