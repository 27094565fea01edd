"""How long the graph and the timeline of a decode step take, and how much memory, on 16 and on 2,048 GPUs.

python benchmarks/graph.py
"""

import resource
import sys
import time

from shardwright.cluster.catalog import build_cluster
from shardwright.dag.schedule import Schedule
from shardwright.dag.step import step_timeline
from shardwright.engine.catalog import ENGINES
from shardwright.layout.notation import parse_layout
from shardwright.model.catalog import find_model
from shardwright.steps.load import decode_load
from shardwright.workload.workload import Workload

CASES = ("tp2.dp2.pp2/ep4.x2", "tp8.dp128.pp2/ep64.etp8.edp2")

SCHEDULES = (
    Schedule(order="serial"),
    Schedule(order="pipelined", micro_batches=4),
    Schedule(order="overlapped", micro_batches=4),
)

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024
"""Unit of ru_maxrss: getrusage(2) of macOS and of Linux."""


def measure(text: str) -> None:
    layout, engine, model = parse_layout(text), ENGINES["shardwright"], find_model("DeepSeek-V3")
    cluster = build_cluster(gpu="H100-SXM-80GB", nodes=layout.num_gpus // 8, gpus_per_node=8)[0]
    workload = Workload(batch=64 * layout.dp, input_tokens=1024, output_tokens=512, max_model_len=2048)
    for schedule in SCHEDULES:
        begun = time.perf_counter()
        load = decode_load(model, layout, workload, schedule.micro_batches)
        timeline = step_timeline(model, engine, cluster, layout, load, schedule)
        took_s = time.perf_counter() - begun
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES
        print(
            f"{layout.num_gpus:>5} GPUs {schedule.order:<10} {schedule.micro_batches} micro-batches: "
            f"{len(timeline.slices):>6} slices in {took_s:.3f} s, peak {peak_bytes / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    for case in CASES:
        measure(case)
