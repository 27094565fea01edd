"""Documents to audit: the examples, and ones whose statements are the tool's own predictions."""

from functools import cache
from pathlib import Path
from typing import Any

from shardwright.audit.audit import audit
from shardwright.audit.record import Audit
from shardwright.layout.notation import parse_layout
from shardwright.model.weights import bytes_by_part, num_parameters
from shardwright.plan.claims import Claims
from shardwright.plan.deployment import Deployment, read_deployment
from shardwright.search.pool import build_pool
from shardwright.search.timing import plain_timing
from shardwright.units import GB
from shardwright.workload.workload import Targets

EXAMPLES = Path(__file__).parents[2] / "examples"


@cache
def example(name: str) -> Deployment:
    """examples/NAME.yaml."""
    return read_deployment(EXAMPLES / f"{name}.yaml")


@cache
def audited(name: str) -> Audit:
    return audit(example(name))


def with_claims(deployment: Deployment, **changes: Any) -> Deployment:
    """The same document with other statements."""
    claims = (deployment.claims or Claims()).model_dump() | changes
    return deployment.model_copy(update={"claims": Claims.model_validate(claims)})


def self_consistent(deployment: Deployment, text: str, *, margin: float = 1.5) -> Deployment:
    """`deployment` with layout `text`, and as its statements the counts and predictions of the tool, rounded.

    Targets are looser than the predictions by `margin`.
    """
    layout = parse_layout(text)
    bare = deployment.model_copy(update={"layout": text, "claims": None})
    pool = build_pool(bare, layout, plain_timing(bare, layout))
    figures, model, ranks = pool.figures, deployment.model, layout.dp * layout.copies
    tpot, rate = round(figures.tpot_s.value * 1e3, 2), round(figures.throughput_tokens_per_s.value, 1)
    share, memory = (
        round(figures.communication_fraction.value, 3),
        round(figures.memory_bytes.value / GB, 1),
    )
    targets = Targets(
        tpot_ms=tpot * margin,
        throughput_tokens_per_s=rate / margin,
        memory_gb=memory * margin,
        communication_fraction=min(1.0, share * margin),
    )
    claims = Claims(
        gpus=layout.num_gpus,
        gpu_utilisation=round(layout.num_gpus / deployment.cluster.num_gpus, 4),
        spare_gpus=deployment.cluster.num_gpus - layout.num_gpus,
        replicas=ranks,
        micro_batches=layout.pp,
        modules=layout.gpus_per_copy,
        experts_per_gpu=(model.experts.num_experts / layout.ep) if model.experts else None,
        layers_per_stage=pool.stage_layers[0] if len(set(pool.stage_layers)) == 1 else None,
        sequences_per_replica=deployment.workload.batch / ranks,
        model_gb=round(sum(bytes_by_part(model).values()) / GB, 1),
        parameters_billion=round(num_parameters(model) / 1e9, 2),
        memory_gb=memory,
        memory_utilisation=round(1 / margin, 3),
        memory_headroom=round(1 - 1 / margin, 3),
        tpot_ms=tpot,
        ttft_ms=round(figures.ttft_s.value * 1e3, 2),
        latency_gain=round(margin, 2),
        latency_reduction=round(1 - 1 / margin, 3),
        throughput_tokens_per_s=rate,
        throughput_gain=round(margin, 2),
        communication_fraction=share,
    )
    return bare.model_copy(update={"claims": claims, "targets": targets})
