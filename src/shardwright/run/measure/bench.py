"""Cases timed round after round, so that what disturbs the machine for a moment disturbs no case alone."""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from shardwright.run.alone.clock import Clock, clock_of
from shardwright.run.measure.arena import Arena
from shardwright.steps.operation import Operation

ROUNDS, MOST_ROUNDS = 8, 60
"""A case is timed once in each round, after a first run in which libraries choose their kernels."""

ALIKE, STABLE = 3, 0.02
"""A case is timed no more when so many of its fastest timings lie within this share of each other."""

SHORT_S, TIMES_IF_SHORT = 1e-3, 5
"""What takes less is timed several times in a round."""

BALLAST_BYTES = 1 << 29
"""Written before each timing on a GPU: that takes longer than the host needs to launch what is timed."""

SHARE_OF_ARENA = 4
"""A case takes at most one part in so many of the arena, or its operands might still be in a cache."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to time. shape: cases of one shape are held out of a fit together.

    ready: takes its operands, and gives the call.
    """

    operation: Operation
    shape: tuple[float, ...]
    ready: Callable[[Arena], Callable[[], object]]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What an operation of a shape takes."""

    operation: Operation
    shape: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where cases are timed. told: the share of a budget that is spent.

    now, clock: of the host, of the device.
    """

    device: torch.device
    arena: Arena
    told: Callable[[float], None] = lambda share: None
    now: Callable[[], float] = time.monotonic
    clock: Callable[[torch.device], Clock] = clock_of


def timed(bench: Bench, cases: Sequence[Case], budget_s: float) -> list[Timing]:
    """What each case takes, found in about `budget_s`: the smallest first, as many as there is time for."""
    began = bench.now()
    kept: list[Case] = []
    for case in sorted(cases, key=_work):
        if case.operation.bytes > bench.arena.num_bytes / SHARE_OF_ARENA:
            continue
        _timings(bench, case, 1)
        kept.append(case)
        if (spent := bench.now() - began) * (1 + ROUNDS) > budget_s:
            break
        bench.told(spent / budget_s)
    times: list[list[float]] = [[] for _ in kept]
    order = random.Random(0)
    for number in range(MOST_ROUNDS):
        waiting = [index for index in range(len(kept)) if not stable(times[index])]
        if not waiting or (number >= ROUNDS and bench.now() - began > budget_s):
            break
        order.shuffle(waiting)
        for index in waiting:
            short = bool(times[index]) and min(times[index]) < SHORT_S
            times[index] += _timings(bench, kept[index], TIMES_IF_SHORT if short else 1)
        bench.told(min((bench.now() - began) / budget_s, 1.0))
    return [
        Timing(operation=case.operation, shape=case.shape, seconds=settled(found))
        for case, found in zip(kept, times, strict=True)
    ]


def stable(times: Sequence[float]) -> bool:
    """Whether the fastest timings agree."""
    fastest = sorted(times)[:ALIKE]
    return len(times) > ALIKE and fastest[-1] <= (1 + STABLE) * fastest[0]


def settled(times: Sequence[float]) -> float:
    """The middle one of the fastest timings: other work on the machine slows some, and speeds none."""
    return statistics.median(sorted(times)[:ALIKE])


def _work(case: Case) -> float:
    """In FLOP, roughly: most devices have ten times as many a second as bytes, or more."""
    return float(case.operation.flops + 10 * case.operation.bytes)


@torch.no_grad()
def _timings(bench: Bench, case: Case, times: int) -> list[float]:
    """One after another, each on operands of its own."""
    clock = bench.clock(bench.device)
    ballast = BALLAST_BYTES if bench.device.type == "cuda" else 0
    filled = torch.empty(ballast, dtype=torch.uint8, device=bench.device)
    for _ in range(times):
        call = case.ready(bench.arena)
        filled.zero_()
        clock.start()
        call()
        clock.stop("")
    return [seconds for _, seconds in clock.laps()]
