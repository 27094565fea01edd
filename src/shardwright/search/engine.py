"""The engine that a deployment is priced for."""

from shardwright.engine.catalog import ENGINES
from shardwright.engine.engine import Engine
from shardwright.plan.deployment import ANY_ENGINE, Deployment


def engine_of(deployment: Deployment) -> Engine:
    """The engine named, or for any our runtime, which runs every layout."""
    return ENGINES["shardwright" if deployment.engine == ANY_ENGINE else deployment.engine]
