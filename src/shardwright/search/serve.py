"""A deployment's layout as a server, and what its clients see of a load."""

from collections.abc import Sequence

from shardwright.cost.profile import profile_for
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.plan.deployment import Deployment
from shardwright.search.engine import engine_of, host_for, measured_as, serving_of
from shardwright.search.obstacles import obstacles
from shardwright.search.timing import Timing, forms_of, stage_layers, time_layout
from shardwright.serving.outcome import Outcome, outcome_of
from shardwright.serving.requests import Requests, closed_loop, open_loop, static_batch
from shardwright.serving.server import Server, build_server
from shardwright.serving.simulate import simulate
from shardwright.serving.simulation import Load, Simulation
from shardwright.workload.workload import Targets

OF_A_BATCH = ("idle", "memory")
"""Obstacles to the batch of the deployment: what a load of one's own makes of them, its simulation shows."""


def simulate_layout(deployment: Deployment, layout: Layout, load: Load) -> Simulation:
    """What clients of the layout see of the load. Raises InputError where it has no room for a request."""
    timing = time_layout(deployment, layout)
    in_the_way = obstacles(deployment, layout, timing.price)
    found = tuple(breach for breach in in_the_way if breach.rule not in OF_A_BATCH)
    server = server_of(deployment, layout, load, timing)
    outcome = outcome_of(simulate(server, requests_of(load)), deployment.targets)
    engine, profile = engine_of(deployment), serving_of(deployment)
    own, distance = profile_for(deployment.cluster.device)
    if deployment.profile is not None:
        own, distance = deployment.profile, "measured"
    software, _ = measured_as(deployment)
    return Simulation(
        name=deployment.name,
        layout=format_layout(layout),
        num_gpus=layout.num_gpus,
        engine=f"{engine.name} {engine.version}",
        software=software.title,
        load=load,
        targets=deployment.targets,
        kv_tokens=server.policy.kv_tokens,
        most_sequences=server.policy.most_sequences,
        most_tokens=server.policy.most_tokens,
        outcome=outcome,
        obstacles=found,
        met=not found and _met(deployment.targets, outcome),
        basis=f"operators of {own.device} ({distance}), host and pace: {profile.source} ({profile.date})",
    )


def server_of(deployment: Deployment, layout: Layout, load: Load, timing: Timing) -> Server:
    """The layout as a server of such a load, under the schedule that serves it best, which is `timing`'s."""
    engine, model = engine_of(deployment), deployment.model
    plain_s = timing.tried[0].step_s
    host = host_for(deployment)
    mean = round(load.input_tokens.mean + load.output_tokens.mean)
    return build_server(
        model,
        engine,
        deployment.cluster,
        layout,
        stage_layers(layout, deployment),
        host=host._replace(decode=host.decode * timing.step.step_s / plain_s),
        length=mean,
        longest=max(load.input_tokens.high + load.output_tokens.high, deployment.workload.max_model_len),
        forms=forms_of(deployment, timing.tried[0].schedule),
        profile=deployment.profile,
        routing=deployment.workload.routing,
    )


def requests_of(load: Load) -> Requests:
    """The requests of a load."""
    lengths = load.input_tokens, load.output_tokens
    if load.kind == "open":
        assert load.rate_per_s is not None
        return open_loop(
            load.rate_per_s,
            *lengths,
            num_requests=load.num_requests,
            burstiness=load.burstiness,
            seed=load.seed,
        )
    assert load.concurrency is not None
    if load.kind == "static":
        return static_batch(load.concurrency, *lengths, seed=load.seed)
    return closed_loop(load.concurrency, *lengths, num_requests=load.num_requests, seed=load.seed)


def _met(targets: Targets, outcome: Outcome) -> bool:
    upper: Sequence[tuple[float | None, float]] = (
        (targets.ttft_ms, outcome.ttft_s.mean * 1e3),
        (targets.tpot_ms, outcome.tpot_s.mean * 1e3 if outcome.tpot_s else 0.0),
    )
    wanted = targets.throughput_tokens_per_s
    return all(limit is None or found <= limit for limit, found in upper) and (
        wanted is None or outcome.output_tokens_per_s >= wanted
    )
