"""What a layout costs under a steady load: step, TPOT, TTFT, throughput, communication, memory.

Closed form of a full house: `batch` sequences in flight, each replaced when it ends. Over the life of a
request an attention rank with s sequences runs `output_tokens` decode steps and s prefills; a prefill
delays all others, and those of the other dp ranks too, since these step together. Prefills that fall due
during one cycle are run together, n of the dp ranks at once: n = rate x (step + prefill of n), from 1 to dp.
So TPOT = step + (s dp / n - 1) x prefill / output_tokens, TTFT = prefill + half a step, and by Little's law
throughput = batch x output_tokens / (TTFT + output_tokens x TPOT).
Queueing, bursts and the engine's host time are not in it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from shardwright.cluster.cluster import Cluster
from shardwright.cost.collectives import Wires
from shardwright.cost.constants import constants
from shardwright.cost.memory import RankMemory, rank_memories
from shardwright.cost.span import axis_nodes
from shardwright.cost.step import StepCost, step_cost
from shardwright.engine.engine import Degrees, Engine
from shardwright.model.spec import ModelSpec
from shardwright.record import Size
from shardwright.steps.load import decode_load, routed_load
from shardwright.workload.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Price:
    """Figures of one layout, or arrays over layouts of one home and one pp. SI units.

    memories: every role and stage. over_budget_bytes: by how much the fullest rank overshoots; <= 0 fits.
    kv_sequences: sequences of max_model_len that the KV cache of one attention rank holds.
    """

    sequences: Size
    micro_batches: Size
    decode: StepCost
    prefill: StepCost
    tpot_s: Size
    ttft_s: Size
    throughput_tokens_per_s: Size
    memories: tuple[RankMemory, ...]
    used_bytes: Size
    over_budget_bytes: Size
    kv_sequences: Size

    @property
    def step_s(self) -> Size:
        """From one token of a sequence to the next while all ranks only decode."""
        return self.decode.cycle_s

    @property
    def communication_fraction(self) -> Size:
        return self.decode.communication_fraction


def price(
    model: ModelSpec,
    engine: Engine,
    cluster: Cluster,
    workload: Workload,
    degrees: Degrees,
    layers: tuple[int, ...],
    *,
    micro_batches: Size | None = None,
) -> Price:
    """Price `degrees` (one layout, or arrays of one home and pp) with stages of `layers` layers.

    micro_batches defaults to one a stage, as engines keep in flight, and never exceeds the sequences.
    """
    sequences = np.ceil(workload.batch / np.asarray(degrees.copies * degrees.dp))
    in_flight = np.minimum(len(layers) if micro_batches is None else micro_batches, sequences)
    wires = wires_of(engine, cluster, degrees)
    decode = step_cost(
        model,
        engine,
        degrees,
        layers,
        decode_load(model, degrees, workload, in_flight),
        in_flight,
        wires,
    )
    lone = _prefill(model, engine, cluster, workload, degrees, layers, wires, busy_ranks=1)
    full = _prefill(model, engine, cluster, workload, degrees, layers, wires, busy_ranks=degrees.dp)
    step_s, answer = decode.cycle_s, workload.output_tokens
    together = _prefills_at_once(step_s, answer, sequences, degrees.dp, lone.busy_s, full.busy_s)
    share = (together - 1) / np.maximum(np.asarray(degrees.dp) - 1, 1)
    busy_s = lone.busy_s + share * (full.busy_s - lone.busy_s)
    prefill_s = lone.pass_s + share * (full.pass_s - lone.pass_s)
    tpot_s = step_s + (sequences * degrees.dp / together - 1) * busy_s / answer
    ttft_s = prefill_s + step_s / 2
    memories = tuple(
        rank_memories(
            model,
            engine,
            cluster,
            degrees,
            layers,
            sequences=sequences,
            tokens_per_sequence=workload.input_tokens + workload.output_tokens,
        )
    )
    return Price(
        sequences=sequences,
        micro_batches=in_flight,
        decode=decode,
        prefill=lone.cost,
        tpot_s=tpot_s,
        ttft_s=ttft_s,
        throughput_tokens_per_s=workload.batch * answer / (ttft_s + answer * tpot_s),
        memories=memories,
        used_bytes=_largest(memory.used for memory in memories),
        over_budget_bytes=_largest(memory.over_budget for memory in memories),
        kv_sequences=-_largest(
            -memory.kv_tokens(engine.memory.block_tokens) / workload.max_model_len
            for memory in memories
            if memory.role != "experts"
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Prefill:
    """One prompt on each of some dp ranks: through all stages, and on the busiest stage, in seconds."""

    cost: StepCost
    pass_s: Size
    busy_s: Size


def _prefill(
    model: ModelSpec,
    engine: Engine,
    cluster: Cluster,
    workload: Workload,
    degrees: Degrees,
    layers: tuple[int, ...],
    wires: Wires,
    *,
    busy_ranks: Size,
) -> _Prefill:
    """Prompts longer than a step takes are run in equal chunks, each against the mean context."""
    chunks = -(-workload.input_tokens // engine.memory.limits_on(cluster.device).max_batched_tokens)
    chunk_tokens = workload.input_tokens / chunks
    load = routed_load(
        "prefill",
        model=model,
        degrees=degrees,
        sequences=1,
        query_tokens=chunk_tokens,
        context=(workload.input_tokens + chunk_tokens) / 2,
        routing=workload.routing,
        busy_ranks=busy_ranks,
    )
    cost = step_cost(model, engine, degrees, layers, load, 1, wires)
    return _Prefill(cost=cost, pass_s=chunks * cost.pass_s, busy_s=chunks * cost.slowest_stage_s)


FIXED_POINT_ROUNDS = 12
"""The rounds after which the number of prefills at once moves by less than 1 % (it is damped by itself)."""


def _prefills_at_once(
    step_s: Size, answer: int, sequences: Size, dp: Size, lone_s: Size, full_s: Size
) -> Size:
    """How many dp ranks prefill in one step on average, in a steady full house."""
    together: Size = np.ones(np.broadcast(np.asarray(step_s), np.asarray(dp)).shape)
    for _ in range(FIXED_POINT_ROUNDS):
        busy_s = lone_s + (together - 1) / np.maximum(np.asarray(dp) - 1, 1) * (full_s - lone_s)
        life_s = answer * step_s + sequences * dp / together * busy_s
        due = sequences * dp / life_s * (step_s + busy_s)
        together = np.clip((together + due) / 2, 1.0, dp)
    return together


def wires_of(engine: Engine, cluster: Cluster, degrees: Degrees) -> Wires:
    """The links under the groups of `degrees`."""
    return Wires(
        cluster=cluster,
        law=constants().collective_for(cluster.device.name),
        nodes=axis_nodes(engine, degrees, cluster.gpus_per_node),
    )


def _largest(sizes: Iterable[Size]) -> Size:
    return reduce(np.maximum, sizes)
