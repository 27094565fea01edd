"""The floor under a decode step: the time to read the weights that it needs, with nothing else counted.

Every micro-batch has each GPU read its dense weights and the experts that the tokens chose; nothing runs
faster than that over the device's memory bandwidth. The bytes are those of the rank program's own operations.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from shardwright.cost.stages import stages
from shardwright.layout.layout import Layout
from shardwright.layout.placement import max_slots
from shardwright.plan.deployment import Deployment
from shardwright.record import Size
from shardwright.search.engine import engine_of
from shardwright.search.timing import stage_layers
from shardwright.steps.forms import Forms
from shardwright.steps.load import decode_load
from shardwright.steps.operation import Gemm, GroupedExperts, Operation
from shardwright.steps.program import rank_program
from shardwright.units import format_bytes, format_rate, format_seconds


@dataclass(frozen=True, kw_only=True)
class Floor:
    """read_bytes: of weights, by the busiest GPU for one micro-batch. step_s: from one token to the next.

    ceiling_tokens_per_s: sequences in flight / step_s, of all copies.
    """

    micro_batches: int
    read_bytes: float
    step_s: float
    ceiling_tokens_per_s: float

    @property
    def reads(self) -> str:
        """What a GPU reads, in words."""
        often = (
            "once a step" if self.micro_batches == 1 else f"for each of {self.micro_batches} micro-batches"
        )
        return f"{format_bytes(self.read_bytes)} {often}"


def counted(name: str, floor: Floor, deployment: Deployment) -> str:
    """The arithmetic of a floor, in words."""
    bandwidth = format_bytes(deployment.cluster.device.memory_bandwidth_bytes_per_s)
    return (
        f"{name}: {floor.micro_batches} x {format_bytes(floor.read_bytes)} / {bandwidth}/s -> "
        f"{format_seconds(floor.step_s)} a step; {deployment.workload.batch} sequences -> "
        f"{format_rate(floor.ceiling_tokens_per_s)}"
    )


def weight_floor(
    deployment: Deployment, layout: Layout, *, micro_batches: int | None = None, all_experts: bool = False
) -> Floor:
    """The floor of `layout` under the deployment's load, with one micro-batch a stage unless stated.

    all_experts: as if the tokens chose every expert, which large batches come close to; else the expected
    number on the GPU that has most.
    """
    counts = stage_layers(layout, deployment)
    sequences = -(-deployment.workload.batch // (layout.dp * layout.copies))
    in_flight = min(len(counts) if micro_batches is None else micro_batches, sequences)
    load = decode_load(deployment.model, layout, deployment.workload, in_flight)
    if all_experts and deployment.model.experts:
        slots = max_slots(deployment.model.experts.num_experts, layout.redundant, layout.ep)
        load = replace(load, active_experts=slots)
    folded = layout.home == "folded"
    own, remote, total_remote, total = 0.0, 0.0, 0.0, 0.0
    for stage, how_many in Counter(stages(deployment.model, counts)).items():
        program = partial(rank_program, deployment.model, layout, stage, load)
        forms = Forms(exchange=engine_of(deployment).exchange)
        here = _read(program("attention+experts" if folded else "attention", forms))
        there = 0.0 if folded else _read(program("experts", forms))
        own, remote = max(own, here), max(remote, there)
        total, total_remote = total + how_many * (here + there), total_remote + how_many * there
    busiest = max(own, total_remote if layout.home == "shared" else remote)
    bandwidth = deployment.cluster.device.memory_bandwidth_bytes_per_s
    step_s = max(total, in_flight * busiest) / bandwidth
    return Floor(
        micro_batches=in_flight,
        read_bytes=busiest,
        step_s=step_s,
        ceiling_tokens_per_s=deployment.workload.batch / step_s,
    )


def _read(program: Iterable[Operation]) -> float:
    return sum(float(np.asarray(operation.times * _weights(operation))) for operation in program)


def _weights(operation: Operation) -> Size:
    match operation:
        case Gemm() | GroupedExperts():
            return operation.moved_weight_bytes
    return 0.0
