"""The engine that a deployment is priced for."""

from shardwright.engine.catalog import ENGINES
from shardwright.engine.engine import Engine
from shardwright.engine.tuning import tuned
from shardwright.plan.deployment import ANY_ENGINE, Deployment


def engine_of(deployment: Deployment) -> Engine:
    """The engine named, under the deployment's settings; for any our runtime, which runs every layout."""
    named = ENGINES["shardwright" if deployment.engine == ANY_ENGINE else deployment.engine]
    return tuned(named, deployment.tuning)
