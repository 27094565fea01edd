"""A layout of a model on an engine, ready to serve a load."""

from dataclasses import dataclass

import numpy as np

from shardwright.cluster.cluster import Cluster
from shardwright.cost.host import Host
from shardwright.cost.house import batching_of
from shardwright.cost.memory import rank_memories
from shardwright.cost.price import wires_of
from shardwright.cost.profile import Profile
from shardwright.engine.engine import Engine
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.model.spec import ModelSpec
from shardwright.serving.policy import Policy
from shardwright.serving.times import StepTimes, step_times
from shardwright.steps.forms import Forms
from shardwright.workload.routing import RoutingProfile


@dataclass(frozen=True, kw_only=True)
class Server:
    """times, policy: of one attention rank of a copy, one micro-batch; host: of the engine."""

    times: StepTimes
    policy: Policy
    host: Host
    dp: int
    pp: int
    copies: int


def build_server(
    model: ModelSpec,
    engine: Engine,
    cluster: Cluster,
    layout: Layout,
    layers: tuple[int, ...],
    *,
    host: Host,
    length: int,
    longest: int,
    forms: Forms | None = None,
    profile: Profile | None = None,
    routing: RoutingProfile | None = None,
    times: StepTimes | None = None,
    poll_steps: int = 1,
    gather_steps: int = 0,
) -> Server:
    """The tables and limits of a layout. length: of a mean request, prompt and answer; longest: of any.

    times: the tables, where they are known. Raises InputError where the KV cache has no room for one request.
    """
    kv_tokens = kv_capacity(model, engine, cluster, layout, layers, length)
    if kv_tokens < length:
        raise InputError(
            "model",
            f"{model.name} on {layout.gpus_per_copy} x {cluster.device.name}",
            f"room for a request of {length} tokens: the KV cache of an attention rank holds {kv_tokens}",
        )
    batching = batching_of(engine, cluster.device, longest)
    most_sequences = engine.memory.limits_on(cluster.device).max_sequences
    policy = Policy(
        most_tokens=batching.most_tokens,
        most_sequences=max(1, most_sequences // layout.pp),
        kv_tokens=kv_tokens // layout.pp,
        mixes=batching.mixes,
        splits=batching.splits,
        reserve=engine.scheduler.reserve,
        poll_steps=poll_steps,
        gather_steps=gather_steps,
    )
    if times is None:
        times = step_times(
            model,
            layout,
            layers,
            wires_of(engine, cluster, layout, profile),
            forms or Forms(exchange=engine.exchange),
            routing or RoutingProfile(),
            most_tokens=batching.most_tokens,
            most_sequences=most_sequences,
            longest=longest,
        )
    return Server(times=times, policy=policy, host=host, dp=layout.dp, pp=layout.pp, copies=layout.copies)


def kv_capacity(
    model: ModelSpec, engine: Engine, cluster: Cluster, layout: Layout, layers: tuple[int, ...], length: int
) -> int:
    """Tokens that the KV cache of one attention rank holds, as sequences of `length` tokens."""
    memories = rank_memories(model, engine, cluster, layout, layers, sequences=1, tokens_per_sequence=length)
    return int(min(float(np.min(row.kv_tokens(length))) for row in memories if row.keeps_kv))
