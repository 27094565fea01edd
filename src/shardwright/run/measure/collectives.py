"""Collectives between processes of this machine, as our runtime asks its library for them.

A collective ends for all of its ranks when it has ended for the slowest: that one's seconds count.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from shardwright.model.dtype import BITS, Dtype
from shardwright.run.alone.clock import clock_of
from shardwright.run.distributed import post
from shardwright.run.measure.bench import MOST_ROUNDS, ROUNDS, Timing, settled
from shardwright.run.measure.dtypes import TORCH
from shardwright.run.network import Kind, Request
from shardwright.run.pool import Pool
from shardwright.run.task import Tell
from shardwright.steps.operation import AllReduce, Communication, Exchange, Gather

KINDS: tuple[Kind, ...] = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")

PAYLOAD_BYTES = tuple(1 << power for power in range(10, 27))
"""1 KiB to 64 MiB."""

PATIENCE_S = 60.0
"""How long a rank may be silent: it speaks between two collectives."""


@dataclass(frozen=True, kw_only=True)
class Collectives:
    """A task of a pool: each kind of collective with each payload, smallest first, round after round."""

    num_ranks: int
    device: str
    dtype: Dtype
    budget_s: float

    def role(self, rank: int) -> str:
        """As its failure names it."""
        return f"one of {self.num_ranks} that measure collectives"

    def perform(self, rank: int, tell: Tell) -> list[list[float]]:
        """Seconds of each round of each case, on this rank."""
        return _rounds(self, rank, tell)


def measure_collectives(
    device: str,
    dtype: Dtype,
    num_processes: int,
    budget_s: float,
    told: Callable[[float], None] = lambda share: None,
) -> dict[Kind, list[Timing]]:
    """What each kind takes, over 2, 4, ... and all of `num_processes` processes.

    Raises RankError where a process is lost or hangs; none is left then, nor after the last.
    """
    found: dict[Kind, list[Timing]] = {kind: [] for kind in KINDS}
    worlds = sorted({*(1 << power for power in range(1, num_processes.bit_length())), num_processes} - {1})
    with Pool(num_processes, patience_s=PATIENCE_S) as pool:
        for index, num_ranks in enumerate(worlds):
            task = Collectives(
                num_ranks=num_ranks, device=device, dtype=dtype, budget_s=budget_s / len(worlds)
            )
            told(index / len(worlds))
            by_rank = pool.run(task)
            cases = ((kind, payload_bytes) for payload_bytes in PAYLOAD_BYTES for kind in KINDS)
            for (kind, payload_bytes), *times in zip(cases, *by_rank, strict=False):
                slowest = np.array(times).max(axis=0)
                found[kind].append(
                    Timing(
                        operation=operation_of(kind, num_ranks, payload_bytes),
                        shape=(num_ranks, payload_bytes),
                        seconds=settled(slowest.tolist()),
                    )
                )
    return found


def operation_of(kind: Kind, num_ranks: int, payload_bytes: int) -> Communication:
    """The operation that a rank program has for it."""
    blank = Communication(name="", axis="tp", num_ranks=num_ranks, payload_bytes=payload_bytes)
    if kind == "all_reduce":
        return AllReduce(**vars(blank))
    if kind == "all_to_all":
        return Exchange(**vars(blank), remote=(num_ranks - 1) / num_ranks)
    return Gather(**vars(blank), reduces=kind == "reduce_scatter")


@torch.no_grad()
def _rounds(task: Collectives, rank: int, tell: Tell) -> list[list[float]]:
    """All ranks do the same: whether time is up, they agree on."""
    device = torch.device(f"cuda:{torch.cuda.current_device()}" if task.device == "cuda" else "cpu")
    size = PAYLOAD_BYTES[-1] // TORCH[task.dtype].itemsize
    largest = torch.zeros(size, dtype=TORCH[task.dtype], device=device)
    began = time.monotonic()

    def late(share: float) -> bool:
        mine = torch.tensor([float(time.monotonic() - began > share * task.budget_s)], device=device)
        dist.all_reduce(mine)
        return bool(mine.item())

    kept: list[tuple[Kind, int]] = []
    for payload_bytes in PAYLOAD_BYTES:
        for kind in KINDS:
            tell(f"{kind} of {payload_bytes} bytes, first")
            _seconds(task, kind, largest, payload_bytes)
            kept.append((kind, payload_bytes))
        if late(1 / (1 + ROUNDS)):
            break
    times: list[list[float]] = [[] for _ in kept]
    for number in range(MOST_ROUNDS):
        for found, (kind, payload_bytes) in zip(times, kept, strict=True):
            tell(f"{kind} of {payload_bytes} bytes, round {number}")
            found.append(_seconds(task, kind, largest, payload_bytes))
        if number + 1 >= ROUNDS and late(1.0):
            break
    return times


def _seconds(task: Collectives, kind: Kind, largest: torch.Tensor, payload_bytes: int) -> float:
    """One collective, begun when all ranks are there."""
    request = _request(task, kind, largest, payload_bytes)
    dist.barrier()
    clock = clock_of(largest.device)
    clock.start()
    post(request, dist.group.WORLD).land()
    clock.stop(kind)
    return clock.laps()[0][1]


def _request(task: Collectives, kind: Kind, largest: torch.Tensor, payload_bytes: int) -> Request:
    """The payload counts the whole buffer, which an all-gather begins with a part of."""
    num_ranks = task.num_ranks
    rows = max(1, round(payload_bytes * 8 / BITS[task.dtype] / num_ranks))
    given = rows if kind == "all_gather" else rows * num_ranks
    return Request(
        kind=kind,
        name="",
        layer=None,
        group=tuple(range(num_ranks)),
        tensor=largest[:given],
        gives=(rows,) * num_ranks,
        takes=(rows,) * num_ranks,
    )
