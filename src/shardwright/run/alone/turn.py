"""One rank's turn: a step of one micro-batch as the plan has it, and what cost/ predicts of its computation.

Decode: a micro-batch of a full house, every sequence at the mean context. Prefill: one prompt on every dp
rank at once; a prompt longer than a step takes is run in equal chunks, of which the turn is one that
stands against the mean of what comes before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shardwright.cost.clock import operation_seconds, program_range
from shardwright.cost.interval import reach_of
from shardwright.cost.memory import rank_memories
from shardwright.cost.price import wires_of
from shardwright.cost.stages import stages
from shardwright.engine.shardwright_runtime import SHARDWRIGHT_0_1
from shardwright.plan.deployment import Deployment
from shardwright.run.operations import forms_of
from shardwright.run.seat import Seat
from shardwright.steps.load import Load, routed_load
from shardwright.steps.operation import Communication, Operation, Phase
from shardwright.steps.program import rank_program
from shardwright.units import Estimate

END = "end"
"""Where the last stretch of a program ends."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A micro-batch of `sequences` x `query_tokens` on each attention rank, `past` tokens behind each.

    load: the same as the rank program has it, with the expected rows of the busiest expert rank. Every
    expert rank is taken to be that one, since a step waits for it.
    """

    load: Load
    sequences: int
    query_tokens: int
    past: int

    @property
    def phase(self) -> Phase:
        return self.load.phase

    @property
    def context(self) -> int:
        """Tokens of KV behind each sequence after the step."""
        return self.past + self.query_tokens

    @property
    def expert_rows(self) -> int:
        """Rows of the expert rank in one layer."""
        return round(float(self.load.expert_rows))

    @property
    def active_experts(self) -> int:
        """Experts of the rank that the rows are for."""
        return round(float(self.load.active_experts))


def turn_of(deployment: Deployment, seat: Seat, phase: Phase) -> Turn:
    """The turn of any rank under the deployment's load."""
    workload, layout = deployment.workload, seat.layout
    if phase == "decode":
        own = -(-workload.batch // (layout.copies * layout.dp))
        sequences = -(-own // min(layout.pp, own))
        query_tokens, past = 1, round(workload.mean_context) - 1
    else:
        limits = SHARDWRIGHT_0_1.memory.limits_on(deployment.cluster.device)
        chunks = -(-workload.input_tokens // limits.max_batched_tokens)
        sequences, query_tokens = 1, -(-workload.input_tokens // chunks)
        past = (workload.input_tokens - query_tokens) // 2
    load = routed_load(
        phase,
        model=seat.seats.model,
        degrees=layout,
        sequences=sequences,
        query_tokens=query_tokens,
        context=past + query_tokens,
        routing=workload.routing,
    )
    return Turn(load=load, sequences=sequences, query_tokens=query_tokens, past=past)


def program_of(seat: Seat, turn: Turn) -> Iterator[Operation]:
    """The rank's program of a turn, over all stages that it works for; equal layers counted together."""
    model, layers = seat.seats.model, seat.seats.stage_layers
    for stage in seat.stages:
        run = stages(model, layers)[stage]
        yield from rank_program(model, seat.layout, run, turn.load, seat.role, forms_of(seat))


def predicted_stretches(deployment: Deployment, seat: Seat, turn: Turn) -> dict[str, float]:
    """Seconds of computation on the plan's GPU, by the communication that they end in."""
    wires = wires_of(SHARDWRIGHT_0_1, deployment.cluster, seat.layout, deployment.profile)
    found: dict[str, float] = {}
    since = 0.0
    for operation in program_of(seat, turn):
        if not isinstance(operation, Communication):
            seconds = operation.times * operation_seconds(operation, wires)
            since += float(np.asarray(seconds))
        elif float(operation.num_ranks) > 1:
            found[operation.name] = found.get(operation.name, 0.0) + since
            since = 0.0
    return {**found, END: since}


def predicted_seconds(deployment: Deployment, seat: Seat, turn: Turn) -> Estimate:
    """Of the whole turn, without communication; the interval is that of a step on one GPU."""
    seconds = sum(predicted_stretches(deployment, seat, turn).values())
    wires = wires_of(SHARDWRIGHT_0_1, deployment.cluster, seat.layout, deployment.profile)
    computing = (op for op in program_of(seat, turn) if not isinstance(op, Communication))
    operators = program_range(computing, wires)
    reach = reach_of(deployment.cluster, deployment.profile, 1, 1, operators)
    return Estimate.between(seconds, reach.low, reach.high, binds="computation", basis=reach.basis)


def predicted_bytes(deployment: Deployment, seat: Seat, turn: Turn) -> tuple[float, float]:
    """(weights, KV of the turn) on the fullest rank of the seat's role and stage."""
    model, layers = seat.seats.model, seat.seats.stage_layers
    rows = rank_memories(
        model,
        SHARDWRIGHT_0_1,
        deployment.cluster,
        seat.layout,
        layers,
        sequences=turn.sequences,
        tokens_per_sequence=turn.context,
    )
    own = [row for row in rows if (row.role == "experts") == (seat.role == "experts")]
    if seat.place.stage is None:
        return float(own[0].weights), 0.0
    # Equal stages have one row; experts of their own have none for a stage without expert layers.
    every = stages(model, layers)
    kinds = [
        stage
        for stage in dict.fromkeys(every)
        if seat.role != "experts" or any(shape.mlp == "moe" for shape, _ in stage.runs)
    ]
    if every[seat.place.stage] not in kinds:
        return 0.0, 0.0
    row = own[kinds.index(every[seat.place.stage])]
    return float(row.weights), float(row.kv)
