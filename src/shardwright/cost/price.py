"""What a layout costs under a closed loop of requests: step, TPOT, TTFT, throughput, communication, memory.

A full house: `batch` sequences in flight, each replaced when it ends (closed_loop.py). Steps are those of the
devices in a running engine, with its host's time (host.py). Other loads, and lengths that differ, are for
serving/ to play.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardwright.cluster.cluster import Cluster
from shardwright.cost.closed_loop import Served, serve
from shardwright.cost.host import Host
from shardwright.cost.house import Batching, House, Passage, batching_of
from shardwright.cost.memory import RankMemory, largest, rank_memories
from shardwright.cost.profile import Profile, laws_on
from shardwright.cost.span import axis_nodes
from shardwright.cost.stages import Layers
from shardwright.cost.step import Seconds, StepCost, step_cost
from shardwright.cost.wires import Wires
from shardwright.engine.engine import Degrees, Engine
from shardwright.model.spec import ModelSpec
from shardwright.record import Size
from shardwright.steps.forms import Forms
from shardwright.steps.load import decode_load, routed_load
from shardwright.workload.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Prefills:
    """Steps of prompts: one prompt on one dp rank, one on each, and on each as many as a step takes.

    families: of the last, as in StepCost.
    """

    single: Passage
    lone: Passage
    full: Passage
    families: Seconds

    def at(self, rows: NDArray[np.intp]) -> "Prefills":
        """Those of these rows of its arrays."""

        def there(seconds: Size) -> Size:
            return np.asarray(seconds)[rows]

        passages = {
            name: Passage(pass_s=there(passage.pass_s), busy_s=there(passage.busy_s))
            for name, passage in (("single", self.single), ("lone", self.lone), ("full", self.full))
        }
        return Prefills(**passages, families={name: there(s) for name, s in self.families.items()})


@dataclass(frozen=True, kw_only=True)
class Price:
    """Figures of one layout, or arrays over layouts of one home. SI units.

    sequences: of an attention rank, in as many `lanes` as there are stages. served: with the micro-batches of
    `decode` one after the other in each stage.
    memories: every role and stage. over_budget_bytes: by how much the fullest rank overshoots; <= 0 fits.
    kv_sequences: sequences of max_model_len that the KV cache of one attention rank holds.
    """

    workload: Workload
    host: Host
    batching: Batching
    sequences: Size
    lanes: Size
    dp: Size
    micro_batches: Size
    decode: StepCost
    prefills: Prefills
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
    prefills: Prefills | None = None,
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
    prefills = prefills or prefills_of(model, engine, workload, degrees, layers, wires, forms)
    batching = batching_of(engine, cluster.device, workload.max_model_len)
    lanes = np.minimum(degrees.pp, sequences)
    house = _house(sequences, lanes, degrees.dp, in_flight, decode, decode.cycle_s, prefills)
    memories = load_memories(model, engine, cluster, workload, degrees, layers)
    return Price(
        workload=workload,
        host=host,
        batching=batching,
        sequences=sequences,
        lanes=lanes,
        dp=degrees.dp,
        micro_batches=in_flight,
        decode=decode,
        prefills=prefills,
        served=serve(workload, batching, host, house),
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
) -> Prefills:
    """They depend neither on the copies nor on the number of sequences.

    Where a step takes part of a prompt only, its context is the mean one. All three are priced at once, one
    first dim over them.
    """
    forms = forms or Forms(exchange=engine.exchange)
    batching = batching_of(engine, wires.cluster.device, workload.max_model_len)
    length = workload.input_tokens
    tokens, most = batching.tokens(length), batching.prompts(length)
    sequences, busy_ranks = (
        np.stack(np.broadcast_arrays(*of_each, degrees.dp)[:3])
        for of_each in ((1.0, 1.0, most), (1, degrees.dp, degrees.dp))
    )
    load = routed_load(
        "prefill",
        model=model,
        degrees=degrees,
        sequences=sequences,
        query_tokens=tokens,
        context=(length + tokens) / 2,
        routing=workload.routing,
        busy_ranks=busy_ranks,
    )
    costs = list(step_cost(model, degrees, layers, load, 1, wires, forms).split(sequences.shape))
    passages = (Passage(pass_s=cost.pass_s, busy_s=cost.slowest_stage_s) for cost in costs)
    single, lone, full = passages
    return Prefills(single=single, lone=lone, full=full, families=costs[-1].families)


def served(price: Price, step_s: Size) -> Served:
    """What a client sees where a decode step takes the devices `step_s` instead."""
    split = price.sequences, price.lanes, price.dp, price.micro_batches
    return serve(
        price.workload, price.batching, price.host, _house(*split, price.decode, step_s, price.prefills)
    )


def _house(
    sequences: Size,
    lanes: Size,
    dp: Size,
    micro_batches: Size,
    decode: StepCost,
    decode_s: Size,
    prefills: Prefills,
) -> House:
    """A schedule may decode in more micro-batches than there are lanes that fill prompts."""
    return House(
        sequences=np.ceil(sequences / lanes),
        lanes=lanes,
        dp=dp,
        decode_s=decode_s,
        attention_s=decode.families["attention"] * micro_batches / lanes,
        single=prefills.single,
        lone=prefills.lone,
        full=prefills.full,
    )


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


def wires_of(engine: Engine, cluster: Cluster, degrees: Degrees, profile: Profile | None = None) -> Wires:
    """The links under the groups of `degrees`, and what prices them; profile: of one's own."""
    return Wires(
        cluster=cluster,
        profile=laws_on(cluster.device, profile),
        kernels=engine.kernels,
        own_sums=engine.own_sums,
        nodes=axis_nodes(engine, degrees, cluster.gpus_per_domain),
    )
