"""A decode step of the reference model, played."""

from functools import cache

from shardwright.cluster.catalog import build_cluster
from shardwright.dag.schedule import Order, Schedule
from shardwright.dag.step import step_timeline
from shardwright.dag.timeline import Timeline
from shardwright.engine.catalog import ENGINES
from shardwright.layout.notation import parse_layout
from shardwright.steps.load import decode_load
from shardwright.workload.workload import Workload
from tests.samples import REFERENCE

FOLDED, SHARED, APART = "tp2.dp2.pp2/ep4", "tp2.pp2+ep4.shared", "tp2.dp2.pp2+ep4"
LARGE = "tp8.dp128.pp2/ep64.etp8.edp2"


@cache
def played(text: str, order: Order = "pipelined", *, batched: bool = False, num_steps: int = 1) -> Timeline:
    """Two micro-batches of the layout on nodes of 8, by our runtime."""
    layout = parse_layout(text)
    cluster, _ = build_cluster(
        gpu="A100-SXM-64GB", nodes=-(-layout.num_gpus // 8), gpus_per_node=8, scale_up=None, scale_out=None
    )
    workload = Workload(batch=2048, input_tokens=1024, output_tokens=512, max_model_len=2048)
    schedule = Schedule(order=order, micro_batches=2, batched=batched)
    load = decode_load(REFERENCE, layout, workload, 2)
    return step_timeline(
        REFERENCE, ENGINES["shardwright"], cluster, layout, load, schedule, num_steps=num_steps
    )
