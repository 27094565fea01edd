"""One rank of a world that torchrun started: it meets the others, has its part, and tells rank 0.

torchrun (torch.distributed.run) gives every process its place in the environment, here or on several
machines, and ends all of them when one ends badly.
"""

import atexit
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.run.job import Job, RankResult
from shardwright.run.perform import perform
from shardwright.run.pool import rank_error
from shardwright.run.task import Tell
from shardwright.run.worker import BACKENDS, Failure, attempt

PATIENCE = timedelta(minutes=10)
"""How long a rank waits for others, which may read large weights: NCCL's own default in torch 2.13."""

LOOPBACKS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Of this process among those that torchrun started; local: on this machine."""

    rank: int
    num_ranks: int
    local_rank: int
    num_local: int


def read_place(environment: Mapping[str, str] = os.environ) -> Place:
    """What torchrun states. Raises InputError in a process that it did not start."""
    try:
        return Place(
            rank=int(environment["RANK"]),
            num_ranks=int(environment["WORLD_SIZE"]),
            local_rank=int(environment["LOCAL_RANK"]),
            num_local=int(environment["LOCAL_WORLD_SIZE"]),
        )
    except (KeyError, ValueError):
        allowed = "a process that torchrun started: python -m torch.distributed.run --nproc-per-node N ..."
        raise InputError("--torchrun", environment.get("RANK"), allowed) from None


def check_place(place: Place, layout: Layout) -> None:
    """Raise InputError unless torchrun started a process for each rank of the layout."""
    if place.num_ranks != layout.num_gpus:
        text = f"{format_layout(layout)}, {layout.num_gpus} ranks"
        raise InputError("layout", text, f"a layout of {place.num_ranks} ranks: torchrun started as many")


def perform_in_world(job: Job, place: Place, tell: Tell) -> list[RankResult]:
    """The job with all ranks of the world: every rank's part on rank 0, none on the others.

    Raises RankError for whatever goes wrong in this rank, whose process then ends without ceremony.
    """
    doing = "starting"

    def told(now: str) -> None:
        nonlocal doing
        doing = now
        tell(now)

    parts: list[RankResult] = []

    def worked() -> RankResult:
        _join(job, place)
        part = perform(job, place.rank, told)
        told("handing its part to rank 0")
        parts.extend(_gathered(part, place))
        dist.destroy_process_group()
        return part

    outcome = attempt(worked)
    if isinstance(outcome, Failure):
        # Torn down in order, a world that has failed may hang or abort (gloo of torch 2.13).
        atexit.register(os._exit, outcome.exit_code)
        raise rank_error(job, place.rank, doing, outcome)
    return parts


def _join(job: Job, place: Place) -> None:
    if job.device == "cuda":
        torch.cuda.set_device(place.local_rank)
    here = os.environ.get("MASTER_ADDR") in LOOPBACKS
    if here and sys.platform == "linux":  # else gloo looks up the host's own name, which may lead nowhere
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(BACKENDS[job.device], timeout=PATIENCE)


def _gathered(part: RankResult, place: Place) -> list[RankResult]:
    """Every rank's part, by rank; on rank 0 alone."""
    found: list[RankResult | None] | None = [None] * place.num_ranks if place.rank == 0 else None
    dist.gather_object(part, found, dst=0)
    return [part for part in found or [] if part is not None]
