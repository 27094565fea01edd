"""A command under audit: its arguments, the layout that they make, and the deployment around it, priced."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from shardwright.audit.commands.load import with_load
from shardwright.audit.commands.record import Capacity
from shardwright.audit.commands.surroundings import deployment_around, model_of
from shardwright.cost.price import Price
from shardwright.cost.room import longest_sequence, most_sequences
from shardwright.engine.catalog import ENGINES
from shardwright.engine.commands.reading import Arguments, read_arguments
from shardwright.engine.commands.script import Invocation
from shardwright.engine.commands.server import Refusal, Server, degree
from shardwright.engine.dialect import settle
from shardwright.engine.engine import Engine, SchedulerLimits, Verdict
from shardwright.errors import InputError
from shardwright.layout.grid import MAX_GPUS
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.layout.stages import stage_counts
from shardwright.model.spec import ModelSpec
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Pool
from shardwright.search.engine import engine_of
from shardwright.search.pool import build_pool
from shardwright.search.timing import Timing, as_told


@dataclass(frozen=True, kw_only=True)
class CommandSubject:
    """layout: None where the engine makes none, or one that breaks its rules. `stated` fields of the
    deployment were given; what the engine or this audit chose stands among its assumptions."""

    invocation: Invocation
    arguments: Arguments
    verdict: Verdict
    layout: Layout | None
    refusals: tuple[Refusal, ...]
    deployment: Deployment
    batch_stated: bool

    @property
    def server(self) -> Server:
        """The server that the command starts."""
        return self.invocation.server

    @property
    def model(self) -> ModelSpec:
        """The model, in the dtypes of the command."""
        return self.deployment.model

    @property
    def the_layout(self) -> Layout:
        """The layout, where the caller has made sure that there is one."""
        assert self.layout is not None
        return self.layout

    @property
    def engine(self) -> Engine:
        """The engine under the command's settings."""
        return engine_of(self.deployment)

    @property
    def limits(self) -> SchedulerLimits:
        """Limits of a step on the deployment's device."""
        return self.engine.memory.limits_on(self.deployment.cluster.device)

    @cached_property
    def timing(self) -> Timing:
        """The layout in the command's schedule: overlapped where it says so and the engine can."""
        wanted = bool(self.arguments.settings.get("overlap"))
        return as_told(self.deployment, self.the_layout, overlap=wanted)

    @property
    def price(self) -> Price:
        """What the layout costs."""
        return self.timing.price

    @cached_property
    def pool(self) -> Pool:
        """The layout with its figures; its command is the one under audit."""
        pool = build_pool(self.deployment, self.the_layout, self.timing)
        return pool.model_copy(update={"command": (*self.invocation.entry, *self.invocation.words)})

    @cached_property
    def capacity(self) -> Capacity:
        """What the KV cache holds."""
        ranks = self.the_layout.dp * self.the_layout.copies
        work, memories = self.deployment.workload, self.price.memories
        length = work.max_model_len
        tokens = int(min(float(np.asarray(row.kv_tokens(length))) for row in memories if row.keeps_kv))
        held = max(0, most_sequences(memories, work.input_tokens + work.output_tokens))
        return Capacity(
            rank_tokens=tokens,
            tokens=tokens * ranks,
            rank_requests=tokens / length,
            requests=tokens / length * ranks,
            weights_fit=all(float(np.asarray(row.left_for_kv)) > 0 for row in self.price.memories),
            request_fits=tokens >= length,
            batch=held * ranks,
            max_model_len=longest_sequence(memories, self.model.max_positions),
        )


def examine_command(
    invocation: Invocation, surroundings: Mapping[str, Any], *, folder: Path = Path()
) -> CommandSubject:
    """The subject of an audit of one command.

    surroundings: fields of a deployment file (cluster, workload, targets, ...), as far as they are known; a
    cluster may leave `nodes` open. A model there has the facts that count, where the command's is a path.
    Raises InputError for a value that cannot be, for a model that is not known, and where no GPU is named.
    """
    arguments = read_arguments(invocation)
    model = model_of(arguments, surroundings, folder)
    server = invocation.server
    _bounded(arguments)
    refusals = server.refuses(arguments.settings, model)
    stated, outcome = server.realise(arguments.settings, model)
    words = " ".join(invocation.words)
    verdict = settle(server.dialect, stated, model, outcome, words)
    layout = outcome.layout if verdict.accepted else None
    if layout is not None:
        stage_counts(layout, model.num_layers, ENGINES[server.engine].stages)
    shape = layout or parse_layout(verdict.nearest or "tp1")
    deployment = deployment_around(arguments, server, model, shape, surroundings, folder)
    deployment, batch_stated = with_load(deployment, shape, surroundings.get("workload") or {}, arguments)
    return CommandSubject(
        invocation=invocation,
        arguments=arguments,
        verdict=verdict,
        layout=layout,
        refusals=refusals,
        deployment=deployment,
        batch_stated=batch_stated,
    )


def _bounded(arguments: Arguments) -> None:
    """Refuse degrees whose product no cluster has."""
    given = [row for row in arguments.given if row.sets in ("tp", "pp", "dp", "replicas", "attn_dp")]
    degrees = {row.sets: degree(arguments.settings, row.sets) for row in given}
    if prod(degrees.values()) > MAX_GPUS:
        shown = " ".join(f"{row.flag} {row.value}" for row in given)
        raise InputError("command", shown, f"degrees whose product is at most {MAX_GPUS:,}")
