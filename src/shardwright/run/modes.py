"""Where the ranks of a job run: in this process, in one each on this machine, or where torchrun put them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from shardwright.errors import EnvironmentLacksError
from shardwright.layout.layout import Layout
from shardwright.plan.generation import Mode
from shardwright.run.perform import Perform, perform_here
from shardwright.run.pool import Pool
from shardwright.run.task import Tell
from shardwright.run.world import check_place, perform_in_world, read_place


def check_mode(mode: Mode, layout: Layout, device: str) -> None:
    """Raise InputError unless torchrun started a process a rank, EnvironmentLacksError without GPUs."""
    num_processes = {"in-process": 1, "processes": layout.num_gpus}.get(mode, 0)
    if mode == "torchrun":
        place = read_place()
        check_place(place, layout)
        num_processes = place.num_local
    found = torch.cuda.device_count()
    if device == "cuda" and found < num_processes:
        needs = f"--device cuda takes a GPU for each of {num_processes} processes here; torch finds {found}"
        raise EnvironmentLacksError(needs)


@contextmanager
def performer(mode: Mode, layout: Layout, tell: Tell = lambda doing: None) -> Iterator[Perform]:
    """What performs jobs of a layout, one after another; its processes end with the context.

    Every rank's part comes back, under torchrun to rank 0 alone, and nothing to the others. It raises
    RankError for a rank that fails, under torchrun for this one alone.
    """
    match mode:
        case "in-process":
            yield lambda job: perform_here(
                job, lambda step: tell(f"step {step + 1} of at most {job.num_steps}")
            )
        case "torchrun":
            yield lambda job: perform_in_world(job, read_place(), tell)
        case "processes":
            with Pool(layout.num_gpus) as pool:
                yield lambda job: pool.run(job, lambda rank, doing: tell(f"rank {rank}: {doing}"))
