"""DeepSeek-V3 with two-batch overlap on H100 nodes: the timeline beside what SGLang published.

Published: 'Deploying DeepSeek with PD Disaggregation and Large-scale Expert Parallelism on 96 H100 GPUs',
LMSYS, 2025-05-05 (lmsys.org/blog/2025-05-05-large-scale-ep): prefill on 4 nodes with EP 32, prompts of 4,096,
and decode on 9 nodes with EP 72 (32 redundant experts) at 2,000 tokens of context. Its plots of kernel times
are pictures; the figures here are those of its text. Speed-ups are of throughput at equal tokens a GPU.

Run: python benchmarks/two_batch_overlap.py
"""

from dataclasses import dataclass

from shardwright.cluster.catalog import build_cluster
from shardwright.dag.schedule import Schedule
from shardwright.dag.step import Steady, steady_step
from shardwright.engine.sglang import SGLANG_0_5_23 as SGLANG
from shardwright.layout.notation import parse_layout
from shardwright.model.catalog import find_model
from shardwright.steps.load import Load, routed_load
from shardwright.workload.routing import RoutingProfile

CONTEXT, PROMPT = 2000, 4096

SMS_OF_DEEPEP = 24 / 132
"""Prefill, DeepEP's normal kernels: 24 SMs of an H800 (github.com/deepseek-ai/profile-data, 2025)."""


@dataclass(frozen=True)
class Case:
    """tokens: of a step on one GPU, each a sequence in decode. published: speed-up, or what is said of it."""

    phase: str
    layout: str
    nodes: int
    tokens: int
    published: str


CASES = (
    Case("prefill", "dp32/ep32", 4, 8192, "+27 to +35 %"),
    Case("prefill", "dp32/ep32", 4, 16384, "+27 to +35 % (out of memory without)"),
    Case("decode", "dp32/ep32", 4, 32, "-"),
    Case("decode", "dp32/ep32", 4, 64, "-"),
    Case("decode", "dp32/ep32", 4, 128, "-"),
    Case("decode", "dp32/ep32", 4, 256, "-"),
    Case("decode", "dp72/ep72.r32", 9, 32, "-27 %"),
    Case("decode", "dp72/ep72.r32", 9, 64, "gains begin between"),
    Case("decode", "dp72/ep72.r32", 9, 128, "64 and 128"),
    Case("decode", "dp72/ep72.r32", 9, 256, "+25.5 %"),
)


def load(case: Case, micro_batches: int) -> Load:
    prefill = case.phase == "prefill"
    return routed_load(
        "prefill" if prefill else "decode",
        model=find_model("deepseek-ai/DeepSeek-V3"),
        degrees=parse_layout(case.layout),
        sequences=case.tokens / (PROMPT if prefill else 1) / micro_batches,
        query_tokens=PROMPT if prefill else 1,
        context=PROMPT if prefill else CONTEXT,
        routing=RoutingProfile(),
    )


def step(case: Case, schedule: Schedule) -> Steady:
    site = (
        find_model("deepseek-ai/DeepSeek-V3"),
        SGLANG,
        build_cluster(gpu="H100-SXM-80GB", nodes=case.nodes, gpus_per_node=8)[0],
        parse_layout(case.layout),
    )
    return steady_step(*site, load(case, schedule.micro_batches), schedule)


def main() -> None:
    overlap = SGLANG.overlap
    assert overlap is not None
    print(f"{'phase':8}{'layout':16}{'tokens':>7}{'without':>11}{'with':>11}{'speed-up':>10}", end="")
    print(f"{'busy':>8}{'hidden':>8}  published")
    for case in CASES:
        plain = step(case, Schedule(exchange=overlap.exchange))
        two = step(
            case,
            Schedule(
                order="overlapped",
                micro_batches=2,
                hides=overlap.hides,
                exchange=overlap.exchange,
                interference=SMS_OF_DEEPEP if case.phase == "prefill" else overlap.interference,
            ),
        )
        print(
            f"{case.phase:8}{case.layout:16}{case.tokens:>7,}{plain.step_s * 1e3:>8.1f} ms"
            f"{two.step_s * 1e3:>8.1f} ms{plain.step_s / two.step_s - 1:>+9.1%} {two.busy:>7.0%}"
            f"{1 - two.exposed / two.busy:>8.0%}  {case.published}"
        )


if __name__ == "__main__":
    main()
