"""What each worker does for each micro-batch, in order: the rank programs of a step, recorded.

A chain is the program of one worker for one micro-batch of one step in one stage. Batched, the chains of
all micro-batches are one, whose exchanges are of all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from shardwright.dag.schedule import Schedule
from shardwright.dag.worker import Worker, workers
from shardwright.engine.engine import Degrees, ExchangeMode
from shardwright.layout.grid import Grid
from shardwright.layout.layout import Layout
from shardwright.layout.stages import layer_ranges
from shardwright.model.spec import ModelSpec
from shardwright.steps.forms import Forms
from shardwright.steps.load import Load
from shardwright.steps.operation import Communication, Exchange, Operation, Transfer
from shardwright.steps.program import Stage, rank_program


@dataclass(frozen=True, slots=True)
class Post:
    """One operation of a chain. micro_batch: None for an exchange of all of them.

    peers: numbers of the workers that take part, its own among them; ranks of one worker talk to each
    other in groups of their own, and are one peer.
    """

    operation: Operation
    micro_batch: int | None
    peers: tuple[int, ...]


@dataclass(frozen=True)
class Chain:
    """The posts of one worker for one micro-batch (the first of all, where batched) of one step."""

    worker: Worker
    stage: int
    step: int
    micro_batch: int
    posts: tuple[Post, ...]


@dataclass(frozen=True, kw_only=True)
class Work:
    """One step of a layout: what every worker's chains are made of.

    load: of one micro-batch on one attention rank; all are alike.
    """

    model: ModelSpec
    layout: Layout
    stage_layers: tuple[int, ...]
    load: Load
    exchange: ExchangeMode
    grid: Grid

    @cached_property
    def workers(self) -> tuple[Worker, ...]:
        """Those of the layout, as the engine numbers its ranks."""
        return workers(self.grid)

    @property
    def degrees(self) -> Degrees:
        return self.layout

    def stage(self, number: int) -> Stage:
        """The stage, its layers one by one."""
        layers = layer_ranges(self.stage_layers)[number]
        return Stage(
            runs=tuple((self.model.layer_shapes[layer], 1) for layer in layers),
            first=number == 0,
            last=number == self.layout.pp - 1,
            first_layer=layers.start,
        )


def chains(work: Work, schedule: Schedule, num_steps: int = 1) -> Iterator[Chain]:
    """Every chain of `num_steps` steps, the micro-batches of a step in order."""
    forms = Forms(exchange=work.exchange, near_ranks=schedule.near_ranks)
    recorded = [
        (worker, stage, _posts(work, worker, stage, forms, schedule))
        for worker in work.workers
        for stage in (range(work.layout.pp) if worker.stage is None else [worker.stage])
    ]
    batches = [0] if schedule.batched else range(schedule.micro_batches)
    for step in range(num_steps):
        for index in batches:
            for worker, stage, posts in recorded:
                own = posts
                if not schedule.batched:
                    own = tuple(Post(post.operation, index, post.peers) for post in posts)
                yield Chain(worker, stage, step, index, own)


def _posts(work: Work, worker: Worker, stage: int, forms: Forms, schedule: Schedule) -> tuple[Post, ...]:
    """The program of a worker, without collectives of one rank, which are no work."""
    program = rank_program(work.model, work.degrees, work.stage(stage), work.load, worker.role, forms)
    told = [
        (_plain(operation), _peers(work.workers, worker, stage, operation))
        for operation in program
        if not isinstance(operation, Communication) or float(operation.num_ranks) > 1
    ]
    if not schedule.batched:
        return tuple(Post(operation, 0, peers) for operation, peers in told)
    posts: list[Post] = []
    for operation, peers in told:
        if isinstance(operation, Exchange):
            whole = replace(operation, payload_bytes=operation.payload_bytes * schedule.micro_batches)
            posts.append(Post(whole, None, peers))
        else:
            posts += [Post(operation, index, peers) for index in range(schedule.micro_batches)]
    return tuple(posts)


def _plain(operation: Operation) -> Operation:
    """The operation with numbers where it has arrays of one."""
    sizes = {
        field.name: getattr(operation, field.name).item()
        for field in fields(operation)
        if isinstance(getattr(operation, field.name), np.ndarray | np.generic)
    }
    return replace(operation, **sizes)


def _peers(everyone: tuple[Worker, ...], worker: Worker, stage: int, operation: Operation) -> tuple[int, ...]:
    if isinstance(operation, Transfer):
        source = stage if operation.sends else stage - 1
        line = [other.number for other in everyone if other.role != "experts"]
        return line[source], line[source + 1]
    if isinstance(operation, Exchange) and operation.dedicated:
        sides = ("attention", "experts")
        return tuple(
            next(w.number for w in everyone if w.role == side and w.stage in (stage, None)) for side in sides
        )
    return (worker.number,)
