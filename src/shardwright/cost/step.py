"""A step's seconds: the rank program summed, stage by stage.

Pipelines: with m micro-batches in flight over p stages, each must pass all stages before its next step,
and each stage serves m of them a cycle; so a cycle takes max(sum of stage times, m x slowest stage).
With equal stages that is p t for m <= p (idle share 1 - m / p) and m t beyond. A stage serves one
micro-batch at a time, its experts' GPUs included; experts that all stages share are one more server.

Overlapped, a GPU computes for one micro-batch while another's rows are on their way: no schedule is then
faster than max(sum of stage times, m x busiest engine of any GPU). What one reaches, dag/ plays.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import numpy as np

from shardwright.cost.compute import attention_seconds, small_seconds
from shardwright.cost.constants import constants
from shardwright.cost.experts import experts_seconds
from shardwright.cost.gemm import gemm_seconds
from shardwright.cost.law import choose, formats_of
from shardwright.cost.wires import (
    Wires,
    all_reduce_seconds,
    exchange_seconds,
    gather_seconds,
    transfer_seconds,
)
from shardwright.engine.engine import Degrees
from shardwright.layout.grid import Role
from shardwright.model.spec import ModelSpec
from shardwright.record import Size
from shardwright.steps.forms import Forms
from shardwright.steps.load import Load
from shardwright.steps.operation import (
    COMMUNICATION,
    AllReduce,
    Attention,
    Exchange,
    Family,
    Gather,
    Gemm,
    GroupedExperts,
    Operation,
    Small,
    Transfer,
)
from shardwright.steps.program import Stage, rank_program

Seconds = dict[Family, Size]


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """One step of all micro-batches, in seconds.

    pass_s: one micro-batch through all stages. slowest_stage_s: the busiest stage, one micro-batch.
    cycle_s: from a sequence's token to its next. floor_s: no overlap of the same micro-batches takes less.
    families: pass_s by family, expert GPUs included.
    """

    pass_s: Size
    slowest_stage_s: Size
    cycle_s: Size
    floor_s: Size
    families: Seconds

    @property
    def communication_fraction(self) -> Size:
        """Exposed communication as a share of a pass; nothing overlaps in a serial program."""
        return sum(self.families[f] for f in self.families if f in COMMUNICATION) / self.pass_s


def operation_seconds(operation: Operation, wires: Wires) -> Size:
    """Seconds of one time of one operation."""
    device, law = wires.cluster.device, constants()
    match operation:
        case Gemm():
            formats = formats_of(operation.weight_dtype, operation.in_blocks)
            return gemm_seconds(operation, device, choose(wires.profile.gemm, wires.kernels, formats))
        case Attention():
            return attention_seconds(operation, device, law)
        case GroupedExperts():
            formats = formats_of(operation.weight_dtype, operation.in_blocks)
            return experts_seconds(operation, device, choose(wires.profile.experts, wires.kernels, formats))
        case Small():
            return small_seconds(operation, device, law)
        case AllReduce():
            return all_reduce_seconds(operation, wires)
        case Gather():
            return gather_seconds(operation, wires)
        case Exchange():
            return exchange_seconds(operation, wires)
        case Transfer():
            return transfer_seconds(operation, wires)
    raise AssertionError(f"no cost for {operation.name}")


def program_seconds(operations: Iterable[Operation], wires: Wires) -> Seconds:
    """Seconds by family of a program run serially."""
    families: Seconds = {}
    for operation in operations:
        seconds = operation.times * operation_seconds(operation, wires)
        families[operation.family] = families.get(operation.family, 0.0) + seconds
    return families


def stages(model: ModelSpec, layers: tuple[int, ...]) -> list[Stage]:
    """The stages of a pipeline, equal layers of a stage counted together.

    Their shapes stand in the order in which the model first has them, so that equal stages compare equal.
    """
    shapes = dict.fromkeys(model.layer_shapes)
    start, found = 0, []
    for index, count in enumerate(layers):
        held = Counter(model.layer_shapes[start : start + count])
        runs = tuple((shape, held[shape]) for shape in shapes if shape in held)
        found.append(Stage(runs=runs, first=index == 0, last=index == len(layers) - 1, first_layer=start))
        start += count
    return found


def step_cost(
    model: ModelSpec,
    degrees: Degrees,
    layers: tuple[int, ...],
    load: Load,
    micro_batches: Size,
    wires: Wires,
    forms: Forms,
) -> StepCost:
    """The step of `micro_batches` micro-batches of `load` each through stages of `layers` layers.

    `degrees`, `load` and `micro_batches` may be arrays over layouts of one home and one pp. Equal stages
    are priced once.
    """
    families: Seconds = {}
    pass_s: Size = 0.0
    slowest: Size = 0.0
    busiest: Size = 0.0
    shared: Seconds = {}
    for stage, how_many in Counter(stages(model, layers)).items():
        role: Role = "attention+experts" if degrees.home == "folded" else "attention"
        own = program_seconds(rank_program(model, degrees, stage, load, role, forms), wires)
        remote: Seconds = {}
        if degrees.home != "folded":
            # Both sides take part in an exchange: its seconds stand in the attention rank's program.
            program = rank_program(model, degrees, stage, load, "experts", forms)
            remote = program_seconds((op for op in program if op.family == "experts"), wires)
        experts = remote | {"exchange": own.get("exchange", 0.0)}
        stage_s = _sum(own) + _sum(remote)
        slowest = np.maximum(slowest, stage_s)
        pass_s = pass_s + how_many * stage_s
        busiest = np.maximum(busiest, _busiest_engine(own))
        if degrees.home == "per_stage":
            busiest = np.maximum(busiest, _busiest_engine(experts))
        if degrees.home == "shared":
            _add(shared, experts, how_many)
        _add(families, own, how_many)
        _add(families, remote, how_many)
    cycle_s = np.maximum(pass_s, micro_batches * np.maximum(slowest, _sum(shared)))
    floor_s = np.maximum(pass_s, micro_batches * np.maximum(busiest, _busiest_engine(shared)))
    return StepCost(
        pass_s=pass_s, slowest_stage_s=slowest, cycle_s=cycle_s, floor_s=floor_s, families=families
    )


def _busiest_engine(families: Seconds) -> Size:
    """Seconds of the busiest engine of a GPU: it computes, takes part in collectives, or copies."""
    communicating = _sum({name: families[name] for name in families if name in COMMUNICATION})
    copying = families.get("transfer", 0.0)
    return np.maximum(np.maximum(_sum(families) - communicating, communicating - copying), copying)


def _add(total: Seconds, part: Seconds, times: int) -> None:
    for family, seconds in part.items():
        total[family] = total.get(family, 0.0) + times * seconds


def _sum(families: Seconds) -> Size:
    return sum(families.values(), start=cast(Size, 0.0))
