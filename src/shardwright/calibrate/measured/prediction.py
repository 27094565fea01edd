"""Measured cases as they are predicted: every figure with its interval, and where TTFT goes."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from shardwright.calibrate.measured.bench import Bench, bench_outcome, each_bench, seen_of
from shardwright.calibrate.measured.case import Case
from shardwright.calibrate.measured.configuration import configuration_key, host_for, software_of
from shardwright.calibrate.measured.refusal import Refusal
from shardwright.cost.host import Host
from shardwright.cost.interval import Reach, client_reach
from shardwright.cost.software import CLIENT_METRICS, Metric, ServingProfile, pace_of
from shardwright.serving.outcome import Outcome
from shardwright.units import Estimate, total

MOST_THREADS = 8

Tick = Callable[[float], None]
"""Told how many more cases are done; one that is ready to run is half done."""


@dataclass(frozen=True, kw_only=True)
class TtftParts:
    """Mean seconds of TTFT. first_wave: the queue of those that were sent at once at the start; queue: that
    of all others; api, prefill: of all. polling: what of both queues is waiting for an engine that does not
    look for new requests in every step; it may be below 0."""

    api_s: float
    first_wave_s: float
    queue_s: float
    prefill_s: float
    polling_s: float

    @property
    def whole_s(self) -> float:
        """The mean TTFT."""
        return self.api_s + self.first_wave_s + self.queue_s + self.prefill_s


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """figures: by configuration.METRICS, those that the run has: seconds, and tokens a second of all GPUs."""

    bench: Bench
    figures: Mapping[str, Estimate]
    parts: TtftParts


def predict(
    cases: Sequence[Case], profile: ServingProfile, tick: Tick = lambda cases: None
) -> list[Predicted | Refusal]:
    """Each case as its clients would see it; a Refusal where its GPUs have no room for a request.

    Cases that differ in their day alone run once. Runs take all cores: they hold no lock of Python's.
    """
    runs: dict[object, Future[_Run]] = {}
    ready: list[tuple[Bench, Future[_Run]] | Refusal] = []
    with _threads() as pool:
        for bench in each_bench(cases):
            tick(0.5)
            if isinstance(bench, Refusal):
                ready.append(bench)
                continue
            key = (configuration_key(bench, profile), id(bench.server.times))
            if key not in runs:
                runs[key] = pool.submit(_run, bench, host_for(bench.case, profile))
            ready.append((bench, runs[key]))
        found: list[Predicted | Refusal] = []
        for each in ready:
            found.append(each if isinstance(each, Refusal) else _predicted(*each, profile))
            tick(0.5)
    return found


@dataclass(frozen=True, kw_only=True)
class _Run:
    """every_step_s: the mean queue of an engine that looks for new requests in every step."""

    outcome: Outcome
    every_step_s: float


def _run(bench: Bench, host: Host) -> _Run:
    outcome = bench_outcome(bench, host)
    policy, every_step = bench.server.policy, outcome
    if policy.poll_steps > 1:
        eager = replace(bench.server, policy=policy._replace(poll_steps=1))
        every_step = bench_outcome(replace(bench, server=eager), host)
    return _Run(outcome=outcome, every_step_s=every_step.first_token.queue_s)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """As many as there are cores; what waits is dropped where something goes wrong."""
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _predicted(bench: Bench, run: "Future[_Run]", profile: ServingProfile) -> Predicted:
    outcome = run.result().outcome
    return Predicted(
        bench=bench,
        figures=_figures(bench, outcome, profile),
        parts=_parts(bench, outcome, run.result().every_step_s),
    )


def _figures(bench: Bench, outcome: Outcome, profile: ServingProfile) -> dict[str, Estimate]:
    """A request's TTFT, and what follows it, err alike: their ends add to those of its latency. A batch that
    nobody joins is told by its latency, and its other figures with it."""
    seen = seen_of(bench, outcome)
    tpot, ttft, throughput = (_reach(bench.case, profile, metric) for metric in CLIENT_METRICS)
    if bench.case.kind == "static":
        batch = _reach(bench.case, profile, "batch")
        found = {
            "output_tokens_per_s": _within(
                seen.output_tokens_per_s, replace(batch, low=1 / batch.high, high=1 / batch.low)
            ),
            "ttft_s": _within(seen.ttft_s, ttft),
            "e2e_s": _within(seen.e2e_s, batch),
        }
        return found if seen.tpot_s is None else {**found, "tpot_s": _within(seen.tpot_s, batch)}
    found = {"output_tokens_per_s": _within(seen.output_tokens_per_s, throughput)}
    if seen.tpot_s is not None:
        found["tpot_s"] = _within(seen.tpot_s, tpot)
    if bench.is_whole:
        first_s = min(seen.ttft_s, seen.e2e_s)
        found["ttft_s"] = _within(seen.ttft_s, ttft)
        parts = (_within(first_s, ttft), _within(seen.e2e_s - first_s, tpot))
        found["e2e_s"] = total(parts, basis=f"TTFT: {ttft.basis}; tokens after it: {tpot.basis}")
    return found


def _reach(case: Case, profile: ServingProfile, metric: Metric) -> Reach:
    software = software_of(case, profile)
    pace = pace_of(profile, case.cluster.device, software)
    layout = case.layout
    return client_reach(
        profile,
        metric,
        software,
        pace,
        cluster=case.cluster,
        gpus_per_copy=layout.gpus_per_copy,
        pp=layout.pp,
    )


def _within(value: float, reach: Reach) -> Estimate:
    return Estimate.between(value, reach.low, reach.high, basis=reach.basis)


def _parts(bench: Bench, outcome: Outcome, every_step_s: float) -> TtftParts:
    spent, requests = outcome.first_token, bench.requests
    share = min(requests.in_flight / len(requests.length), 1.0)
    first_wave_s = share * (spent.first_wave_queue_s or 0.0)
    return TtftParts(
        api_s=spent.api_s,
        first_wave_s=first_wave_s,
        queue_s=spent.queue_s - first_wave_s,
        prefill_s=spent.prefill_s,
        polling_s=spent.queue_s - every_step_s,
    )
