"""Plans by hand: a model, a layout and a cluster, with figures that nobody computed."""

from functools import cache

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.stated import stated_cluster
from shardwright.dag.schedule import Schedule
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout, parse_layout
from shardwright.model.catalog import find_model
from shardwright.model.spec import ModelSpec
from shardwright.plan.plan import Plan
from tests.report.records import PLAN, pool

model_named = cache(find_model)


@cache
def cluster_of(gpu: str = "H200", nodes: int = 1, per_node: int = 8) -> Cluster:
    return stated_cluster({"gpu": gpu, "nodes": nodes, "gpus_per_node": per_node})[0]


def plan_of(
    model: str | ModelSpec,
    layout: str | Layout,
    cluster: Cluster | None = None,
    *,
    engine: str = "vllm",
    sequences: int = 32,
    schedule: Schedule | None = None,
) -> Plan:
    split = parse_layout(layout) if isinstance(layout, str) else layout
    own = pool(format_layout(split), split.num_gpus).model_copy(
        update={"sequences_per_rank": sequences, "schedule": schedule or Schedule()}
    )
    deployment = PLAN.deployment.model_copy(
        update={
            "model": model_named(model) if isinstance(model, str) else model,
            "cluster": cluster or cluster_of(),
            "engine": engine,
        }
    )
    return PLAN.model_copy(update={"deployment": deployment, "pools": (own,)})
