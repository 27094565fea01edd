"""A small plan, every figure set by hand: no constant of the cost model is in them."""

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.device import Device, Link
from shardwright.dag.schedule import Schedule
from shardwright.dag.step import Steady
from shardwright.plan.claims import Claims
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Alternative, Figures, MemoryRow, Plan, Pool, Rejected, TargetCheck
from shardwright.units import Estimate
from shardwright.workload.workload import Targets, Workload
from tests.samples import SMALL_MOE

DEVICE = Device(
    name="Example-10GB",
    vendor="NVIDIA",
    memory_bytes=10_000_000_000,
    memory_bandwidth_bytes_per_s=1e12,
    peak_flops={"bf16": 1e14},
    num_sms=100,
    scale_up_link="Near",
    source="by hand",
    date="2026-01-01",
)


def link(name: str, kind: str, bandwidth: float) -> Link:
    return Link.model_validate(
        {
            "name": name,
            "kind": kind,
            "bandwidth_bytes_per_s": bandwidth,
            "latency_s": 1e-6,
            "source": "by hand",
            "date": "2026-01-01",
        }
    )


CLUSTER = Cluster(
    device=DEVICE,
    scale_up=link("Near", "scale-up", 1e11),
    scale_out=link("Far", "scale-out", 1e10),
    nodes=2,
    gpus_per_node=4,
)

DEPLOYMENT = Deployment(
    name="example",
    model=SMALL_MOE,
    cluster=CLUSTER,
    workload=Workload(batch=32, input_tokens=100, output_tokens=50, max_model_len=200),
    targets=Targets(tpot_ms=10, ttft_ms=100, throughput_tokens_per_s=5000),
    layout="TP2-EP4-DP2",
    claims=Claims(gpus=4, tpot_ms=8, throughput_tokens_per_s=6000),
    assumptions=("engine: vllm, unstated",),
)


def figures(*, tpot_s: float = 0.008, tokens_per_s: float = 32 * 50 / 0.45, num_gpus: int = 4) -> Figures:
    def around(value: float, binds: str = "experts") -> Estimate:
        return Estimate(value=value, low=value * 0.75, high=value * 1.5, binds=binds, basis="set by hand")

    return Figures(
        step_s=around(tpot_s - 0.001),
        tpot_s=around(tpot_s),
        ttft_s=around(0.05, "gemm"),
        throughput_tokens_per_s=around(tokens_per_s),
        throughput_per_gpu=around(tokens_per_s / num_gpus),
        communication_fraction=around(0.2, "gather"),
        communication_busy=around(0.2, "gather"),
        memory_bytes=Estimate(
            value=4e9, low=4e9, high=4e9, binds="rank 0, attention+experts, only stage", basis="exact"
        ),
    )


def pool(
    layout: str = "tp2.dp2/ep4", num_gpus: int = 4, *, command: tuple[str, ...] = (), **set_: float
) -> Pool:
    return Pool(
        layout=layout,
        num_gpus=num_gpus,
        stage_layers=(4,),
        sequences_per_rank=16,
        schedule=Schedule(),
        figures=figures(num_gpus=num_gpus, **set_),
        tried=(Steady(schedule=Schedule(), step_s=0.007, exposed=0.2, busy=0.2),),
        seconds_by_family={"experts": 0.004, "gemm": 0.002, "gather": 0.001},
        memory=(
            MemoryRow(
                role="attention+experts",
                stage="only",
                rank=0,
                dense_weights=1e9,
                expert_weights=2e9,
                embedding=1e8,
                head=1e8,
                kv=5e8,
                activations=1e8,
                sampler=0,
                buffers=1e8,
                runtime=1e8,
                used=4e9,
                left_for_kv=5e9,
                kv_capacity_tokens=5000,
                kv_bytes_per_token=1e6,
            ),
        ),
        kv_sequences=25.0,
        command=command or ("vllm", "serve", SMALL_MOE.name, "--tensor-parallel-size", "2"),
    )


def check(name: str, target: float, unit: str, predicted: float, *, met: bool, probable: bool) -> TargetCheck:
    likely = 0.97 if probable else 0.7 if met else 0.1
    return TargetCheck(
        name=name,
        target=target,
        unit=unit,
        predicted=predicted,
        met=met,
        probable=probable,
        probability=likely,
    )


CHECKS = (
    check("tpot_ms", 10, "ms", 8, met=True, probable=False),
    check("ttft_ms", 100, "ms", 50, met=True, probable=True),
    check("throughput_tokens_per_s", 5000, "tokens/s", 32 * 50 / 0.45, met=False, probable=False),
)
"""One of each outcome."""


def alternative(layout: str, num_gpus: int, *, meets_targets: bool) -> Alternative:
    return Alternative(
        layout=layout,
        num_gpus=num_gpus,
        tpot_s=0.009,
        ttft_s=0.06,
        throughput_tokens_per_s=3500,
        communication_fraction=0.1,
        memory_bytes=3e9,
        meets_targets=meets_targets,
        engines=("vllm", "shardwright"),
    )


PLAN = Plan(
    tool_version="0.0.0",
    profile="nobody, by hand",
    deployment=DEPLOYMENT,
    engine_version="vllm 0.0.0",
    pools=(pool(),),
    targets=CHECKS,
    met=False,
    reason="the throughput target is out of reach, this comes nearest",
    alternatives=(
        alternative("dp4/ep4", 4, meets_targets=False),
        alternative("tp4/ep4.x2", 8, meets_targets=True),
    ),
    pareto=(alternative("dp4/ep4", 4, meets_targets=False),),
    rejected=(
        Rejected(
            rule="heads",
            sentence="TP divides the attention heads",
            count=3,
            example="tp3",
            excess=2,
            unit="heads left over",
            cure="TP2",
        ),
    ),
    num_priced=17,
)
