"""What a layout costs under a steady load: step, TPOT, TTFT, throughput, communication, memory.

Closed form of a full house: `batch` sequences in flight, each replaced when it ends. Over the life of a
request an attention rank with s sequences runs `output_tokens` decode steps and s prefills; a prefill
delays all others, and those of the other dp ranks too, since these step together. Prefills that fall due
during one cycle are run together, n of the dp ranks at once: n = rate x (step + prefill of n), from 1 to dp.
So TPOT = step + (s dp / n - 1) x prefill / output_tokens, TTFT = API + prefill + half a step, and by Little's
law throughput = batch x output_tokens / (TTFT + output_tokens x TPOT). Step and prefill are those of the
devices in a running engine, with its host's time (host.py). Queues and bursts are not in it: serving/ plays
them.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shardwright.cluster.cluster import Cluster
from shardwright.cost.host import Host
from shardwright.cost.memory import RankMemory, largest, rank_memories
from shardwright.cost.profile import Profile, laws_on
from shardwright.cost.span import axis_nodes
from shardwright.cost.stages import Layers
from shardwright.cost.step import StepCost, step_cost
from shardwright.cost.wires import Wires
from shardwright.engine.engine import Degrees, Engine
from shardwright.model.spec import ModelSpec
from shardwright.record import Size
from shardwright.steps.forms import Forms
from shardwright.steps.load import decode_load, routed_load
from shardwright.workload.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a client sees in a steady state. step_s: token to token while all ranks only decode, the host's
    time with it."""

    step_s: Size
    tpot_s: Size
    ttft_s: Size
    throughput_tokens_per_s: Size


@dataclass(frozen=True, kw_only=True)
class Prefill:
    """One prompt on each of some dp ranks: through all stages, and on the busiest stage, in seconds."""

    cost: StepCost
    pass_s: Size
    busy_s: Size

    def at(self, rows: NDArray[np.intp]) -> "Prefill":
        """The seconds of these rows of its arrays."""
        pass_s, busy_s = (np.asarray(seconds)[rows] for seconds in (self.pass_s, self.busy_s))
        return replace(self, pass_s=pass_s, busy_s=busy_s)


@dataclass(frozen=True, kw_only=True)
class Price:
    """Figures of one layout, or arrays over layouts of one home. SI units.

    sequences: of an attention rank. served: with the micro-batches of `decode` one after the other in each
    stage. lone, full: a prompt on one dp rank, and on all of them. memories: every role and stage.
    over_budget_bytes: by how much the fullest rank overshoots; <= 0 fits. kv_sequences: sequences of
    max_model_len that the KV cache of one attention rank holds.
    """

    workload: Workload
    host: Host
    dp: Size
    sequences: Size
    micro_batches: Size
    decode: StepCost
    lone: Prefill
    full: Prefill
    served: Served
    memories: tuple[RankMemory, ...]
    used_bytes: Size
    over_budget_bytes: Size
    kv_sequences: Size


def price(
    model: ModelSpec,
    engine: Engine,
    cluster: Cluster,
    workload: Workload,
    degrees: Degrees,
    layers: Layers,
    *,
    micro_batches: Size | None = None,
    forms: Forms | None = None,
    profile: Profile | None = None,
    host: Host | None = None,
    prefills: tuple[Prefill, Prefill] | None = None,
) -> Price:
    """Price `degrees` (one layout, or arrays of one home) with stages of `layers` layers.

    micro_batches defaults to one a stage, as engines keep in flight, and never exceeds the sequences; forms
    are those that the engine takes by default, profile the one shipped for the device. host: of the engine;
    None costs nothing. prefills: what prefills_of gives, where it is known.
    """
    host = host or Host()
    forms = forms or Forms(exchange=engine.exchange)
    sequences = rank_sequences(workload, degrees)
    in_flight = np.minimum(degrees.pp if micro_batches is None else micro_batches, sequences)
    wires = wires_of(engine, cluster, degrees, profile)
    decode = decode_cost(model, degrees, layers, workload, in_flight, wires, forms)
    lone, full = prefills or prefills_of(model, engine, workload, degrees, layers, wires, forms)
    memories = load_memories(model, engine, cluster, workload, degrees, layers)
    return Price(
        workload=workload,
        host=host,
        dp=degrees.dp,
        sequences=sequences,
        micro_batches=in_flight,
        decode=decode,
        lone=lone,
        full=full,
        served=_served(workload, host, degrees.dp, sequences, decode.cycle_s, lone, full),
        memories=memories,
        used_bytes=largest(memories, lambda memory: memory.used),
        over_budget_bytes=largest(memories, lambda memory: memory.over_budget),
        kv_sequences=-largest(
            [memory for memory in memories if memory.keeps_kv],
            lambda memory: -memory.kv_tokens(workload.max_model_len) / workload.max_model_len,
        ),
    )


def prefills_of(
    model: ModelSpec,
    engine: Engine,
    workload: Workload,
    degrees: Degrees,
    layers: Layers,
    wires: Wires,
    forms: Forms | None = None,
) -> tuple[Prefill, Prefill]:
    """(lone, full) of Price: they depend neither on the copies nor on the load.

    Prompts longer than a step takes are run in equal chunks, each against the mean context. Both are priced
    at once, one first dim over the two: what precedes the experts is the same.
    """
    forms = forms or Forms(exchange=engine.exchange)
    chunks = -(-workload.input_tokens // engine.memory.limits_on(wires.cluster.device).max_batched_tokens)
    busy_ranks = np.stack(np.broadcast_arrays(1, degrees.dp))
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
    both = step_cost(model, degrees, layers, load, 1, wires, forms)
    lone, full = (
        Prefill(cost=cost, pass_s=chunks * cost.pass_s, busy_s=chunks * cost.slowest_stage_s)
        for cost in both.split(busy_ranks.shape)
    )
    return lone, full


def served(price: Price, step_s: Size) -> Served:
    """What a client sees where a decode step takes the devices `step_s` instead."""
    load = (price.workload, price.host, price.dp, price.sequences)
    return _served(*load, step_s, price.lone, price.full)


def load_memories(
    model: ModelSpec,
    engine: Engine,
    cluster: Cluster,
    workload: Workload,
    degrees: Degrees,
    layers: Layers,
) -> tuple[RankMemory, ...]:
    """The memory of each role in each kind of stage, the KV of a full house included."""
    return tuple(
        rank_memories(
            model,
            engine,
            cluster,
            degrees,
            layers,
            sequences=rank_sequences(workload, degrees),
            tokens_per_sequence=workload.input_tokens + workload.output_tokens,
        )
    )


def rank_sequences(workload: Workload, degrees: Degrees) -> Size:
    """Of one attention rank in a full house."""
    return np.ceil(workload.batch / np.asarray(degrees.copies * degrees.dp))


def decode_cost(
    model: ModelSpec,
    degrees: Degrees,
    layers: Layers,
    workload: Workload,
    micro_batches: Size,
    wires: Wires,
    forms: Forms,
) -> StepCost:
    """A decode step of a full house in that many micro-batches."""
    load = decode_load(model, degrees, workload, micro_batches)
    return step_cost(model, degrees, layers, load, micro_batches, wires, forms)


def _served(
    workload: Workload,
    host: Host,
    dp: Size,
    sequences: Size,
    devices_s: Size,
    lone: Prefill,
    full: Prefill,
) -> Served:
    answer = workload.output_tokens
    step_s = devices_s * host.decode + host.step_s + host.sequence_s * sequences
    together = _prefills_at_once(
        step_s, answer, sequences, dp, _with_host(lone.busy_s, host), _with_host(full.busy_s, host)
    )
    share = (together - 1) / np.maximum(np.asarray(dp) - 1, 1)
    busy_s = _with_host(lone.busy_s + share * (full.busy_s - lone.busy_s), host)
    prefill_s = _with_host(lone.pass_s + share * (full.pass_s - lone.pass_s), host)
    tpot_s = step_s + (sequences * dp / together - 1) * busy_s / answer
    ttft_s = host.api_s + host.api_token_s * workload.input_tokens + prefill_s + step_s / 2
    return Served(
        step_s=step_s,
        tpot_s=tpot_s,
        ttft_s=ttft_s,
        throughput_tokens_per_s=workload.batch * answer / (ttft_s + answer * tpot_s),
    )


def _with_host(prefill_s: Size, host: Host) -> Size:
    """A step with a prompt, of which the devices' part takes `prefill_s`, as an engine runs it."""
    return np.maximum(prefill_s * host.prefill + host.step_s + host.prefill_s, host.least_prefill_s)


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


def wires_of(engine: Engine, cluster: Cluster, degrees: Degrees, profile: Profile | None = None) -> Wires:
    """The links under the groups of `degrees`, and what prices them; profile: of one's own."""
    return Wires(
        cluster=cluster,
        profile=laws_on(cluster.device, profile),
        kernels=engine.kernels,
        own_sums=engine.own_sums,
        nodes=axis_nodes(engine, degrees, cluster.gpus_per_domain),
    )
