"""The engine that a deployment is priced for."""

from shardwright.cost.host import Host
from shardwright.cost.software import (
    Pace,
    ServingProfile,
    Software,
    host_of,
    pace_of,
    shipped_serving,
    software_for,
)
from shardwright.engine.catalog import ENGINES, find_engine
from shardwright.engine.engine import Engine, breaches
from shardwright.engine.tuning import tuned
from shardwright.layout.layout import Layout
from shardwright.plan.deployment import ANY_ENGINE, Deployment

STARTERS = ("vllm", "sglang", "trtllm")
"""For any engine: whose command is written, the first of these that runs the layout."""


def engine_of(deployment: Deployment) -> Engine:
    """The engine named, under the deployment's settings; for any our runtime, which runs every layout."""
    named = find_engine("shardwright" if deployment.engine == ANY_ENGINE else deployment.engine)
    return tuned(named, deployment.tuning)


def host_for(deployment: Deployment) -> Host:
    """What the host of the deployment's engine costs, and the pace of its devices, as they were measured."""
    software, pace = measured_as(deployment)
    return host_of(software, pace, deployment.model.num_layers)


def serving_of(deployment: Deployment) -> ServingProfile:
    """What is known of measured serving: the deployment's own, or what is shipped."""
    return deployment.serving or shipped_serving()


def measured_as(deployment: Deployment) -> tuple[Software, Pace]:
    """What stands for the deployment's engine and devices in the profile of measured serving."""
    measured, engine = serving_of(deployment), engine_of(deployment)
    software = software_for(measured, engine.name, version=engine.version)
    return software, pace_of(measured, deployment.cluster.device, software)


def starter_of(deployment: Deployment, layout: Layout) -> Engine:
    """The engine whose command starts `layout`: the one named; for any, the first server that runs it.

    Ours where none does.
    """
    ours = engine_of(deployment)
    if deployment.engine != ANY_ENGINE:
        return ours
    servers = (ENGINES[name] for name in STARTERS)
    model, cluster = deployment.model, deployment.cluster
    return next((engine for engine in servers if not breaches(engine, layout, model, cluster)), ours)
