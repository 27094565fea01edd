"""What a layout costs under a steady load: step, TPOT, TTFT, throughput, communication, memory.

Closed form of a full house: `batch` sequences in flight, each replaced when it ends. Over the life of a
request an attention rank with s sequences runs `output_tokens` decode steps and s prefills; a prefill
delays the others. So TPOT = step + (s - 1) x prefill / output_tokens, TTFT = prefill + half a step, and by
Little's law throughput = batch x output_tokens / (TTFT + output_tokens x TPOT).
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
from shardwright.steps.load import routed_load
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
        routed_load(
            "decode",
            model=model,
            degrees=degrees,
            sequences=np.ceil(sequences / in_flight),
            query_tokens=1,
            context=workload.mean_context,
            routing=workload.routing,
        ),
        in_flight,
        wires,
    )
    chunks = -(-workload.input_tokens // engine.memory.limits_on(cluster.device).max_batched_tokens)
    chunk_tokens = workload.input_tokens / chunks
    prefill = step_cost(
        model,
        engine,
        degrees,
        layers,
        routed_load(
            "prefill",
            model=model,
            degrees=degrees,
            sequences=1,
            query_tokens=chunk_tokens,
            context=(workload.input_tokens + chunk_tokens) / 2,
            routing=workload.routing,
        ),
        1,
        wires,
    )
    prefill_busy_s, prefill_s = chunks * prefill.slowest_stage_s, chunks * prefill.pass_s
    step_s, answer = decode.cycle_s, workload.output_tokens
    tpot_s = step_s + (sequences - 1) * prefill_busy_s / answer
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
        prefill=prefill,
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


def wires_of(engine: Engine, cluster: Cluster, degrees: Degrees) -> Wires:
    """The links under the groups of `degrees`."""
    return Wires(
        cluster=cluster,
        law=constants().collective_for(cluster.device.name),
        nodes=axis_nodes(engine, degrees, cluster.gpus_per_node),
    )


def _largest(sizes: Iterable[Size]) -> Size:
    return reduce(np.maximum, sizes)
