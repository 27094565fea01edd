"""What keeps a layout from running: rules, GPUs, memory and sequences, each with its excess and a cure."""

import numpy as np

from shardwright.cluster.topology import copies_that_fit
from shardwright.cost.price import Price
from shardwright.engine.engine import Breach, breaches
from shardwright.layout.layout import Layout
from shardwright.plan.deployment import Deployment
from shardwright.search.engine import engine_of
from shardwright.units import GB


def obstacles(deployment: Deployment, layout: Layout, cost: Price) -> tuple[Breach, ...]:
    """Everything that stands in the way; empty when the layout runs. Targets are another matter."""
    engine, cluster, work = engine_of(deployment), deployment.cluster, deployment.workload
    found = [
        breach for breach in breaches(engine, layout, deployment.model, cluster) if breach.rule != "gpus"
    ]
    if layout.home not in engine.homes:
        found.append(
            _breach(
                "home",
                f"{engine.title} holds experts on the attention GPUs only",
                layout.expert_ranks,
                "GPUs of experts alone",
                "a folded layout, or engine: any",
            )
        )
    usable, placed = (
        deployment.usable_gpus,
        copies_that_fit(layout.gpus_per_copy, cluster.nodes, cluster.gpus_per_node, cluster.nodes_per_domain),
    )
    if layout.num_gpus > usable:
        sentence = f"The layout has no more GPUs than the {usable} that are there, the reserve set aside"
        cure = "fewer copies, or a smaller degree"
        found.append(_breach("gpus", sentence, layout.num_gpus - usable, "GPUs", cure))
    elif layout.copies > int(placed):
        sentence = "No copy straddles nodes that it need not"
        found.append(_breach("straddle", sentence, layout.copies - int(placed), "copies", "fewer copies"))
    idle = layout.dp * layout.copies - work.batch
    if idle > 0:
        sentence = f"Every attention rank has one of the {work.batch} sequences"
        found.append(
            _breach("idle", sentence, idle, "ranks without a sequence", "a smaller DP, or fewer copies")
        )
    over_bytes = float(np.max(cost.over_budget_bytes))
    if over_bytes > 0:
        sentence = "Weights, activations and the KV cache of the load fit the engine's share of the GPU"
        cure = "more GPUs a copy, a smaller batch, shorter requests or a narrower dtype"
        found.append(_breach("memory", sentence, over_bytes / GB, "GB a GPU", cure))
    elif float(np.min(cost.kv_sequences)) < 1:
        sentence = f"The KV cache of an attention rank holds one request of {work.max_model_len:,} tokens"
        missing = (1 - float(np.min(cost.kv_sequences))) * work.max_model_len
        found.append(
            _breach("max_model_len", sentence, missing, "tokens", "more GPUs a copy, or a shorter limit")
        )
    return tuple(found)


def _breach(rule: str, sentence: str, excess: float, unit: str, cure: str) -> Breach:
    return Breach(rule=rule, sentence=sentence, excess=excess, unit=unit, cure=cure, source="the deployment")
