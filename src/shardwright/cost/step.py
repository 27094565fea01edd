"""A step's seconds: the rank program summed, stage by stage.

Pipelines: with m micro-batches in flight over p stages, each must pass all stages before its next step,
and each stage serves m of them a cycle; so a cycle takes max(sum of stage times, m x slowest stage).
With equal stages that is p t for m <= p (idle share 1 - m / p) and m t beyond. A stage serves one
micro-batch at a time, its experts' GPUs included; experts that all stages share are one more server.

Overlapped, a GPU computes for one micro-batch while another's rows are on their way: no schedule is then
faster than max(sum of stage times, m x busiest engine of any GPU). What one reaches, dag/ plays.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from shardwright.cost.clock import operation_seconds
from shardwright.cost.stages import Layers, kinds
from shardwright.cost.wires import Wires
from shardwright.engine.engine import Degrees
from shardwright.layout.grid import Role
from shardwright.model.spec import LayerShape, ModelSpec
from shardwright.record import Size
from shardwright.steps.forms import Forms
from shardwright.steps.load import Load
from shardwright.steps.operation import (
    COMMUNICATION,
    Family,
    Operation,
)
from shardwright.steps.program import closing, layer_program, opening

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

    def split(self, shape: tuple[int, ...]) -> Iterator["StepCost"]:
        """The steps along the first dim of `shape`, which holds for every figure that is not alike in all."""

        def along(figure: Size) -> NDArray[Any]:
            return np.broadcast_to(np.asarray(figure), shape)

        seconds = (self.pass_s, self.slowest_stage_s, self.cycle_s, self.floor_s)
        families = {family: along(figure) for family, figure in self.families.items()}
        for place, (pass_s, slowest_stage_s, cycle_s, floor_s) in enumerate(
            zip(*map(along, seconds), strict=True)
        ):
            yield StepCost(
                pass_s=pass_s,
                slowest_stage_s=slowest_stage_s,
                cycle_s=cycle_s,
                floor_s=floor_s,
                families={family: figures[place] for family, figures in families.items()},
            )


def program_seconds(operations: Iterable[Operation], wires: Wires) -> Seconds:
    """Seconds by family of a program run serially."""
    families: Seconds = {}
    for operation in operations:
        seconds = operation.times * operation_seconds(operation, wires)
        families[operation.family] = families.get(operation.family, 0.0) + seconds
    return families


def step_cost(
    model: ModelSpec,
    degrees: Degrees,
    layers: Layers,
    load: Load,
    micro_batches: Size,
    wires: Wires,
    forms: Forms,
) -> StepCost:
    """The step of `micro_batches` micro-batches of `load` each through stages of `layers` layers.

    `degrees`, `load` and `micro_batches` may be arrays over layouts of one home, `layers` then their
    pipelines. What stages have in common is priced once: a layer of each shape, and the ends.
    """
    folded = degrees.home == "folded"
    role: Role = "attention+experts" if folded else "attention"
    of_model = kinds(model, layers)
    shapes = dict.fromkeys(shape for kind in of_model for shape, _ in kind.runs)

    def seconds(operations: Iterable[Operation]) -> Seconds:
        return program_seconds(operations, wires)

    firsts, lasts = {kind.first for kind in of_model}, {kind.last for kind in of_model}
    opened = {first: seconds(opening(model, degrees, load, forms, first=first)) for first in firsts}
    closed = {last: seconds(closing(model, degrees, load, last=last)) for last in lasts}
    layer = {shape: seconds(layer_program(model, shape, degrees, load, role, forms)) for shape in shapes}
    experts: dict[LayerShape, Seconds] = {}
    if not folded:
        # Both sides take part in an exchange: its seconds stand in the attention rank's program.
        for shape in shapes:
            program = layer_program(model, shape, degrees, load, "experts", forms)
            experts[shape] = seconds(op for op in program if op.family == "experts")
    families: Seconds = {}
    shared: Seconds = {}
    slowest: Size = 0.0
    busiest: Size = 0.0
    for kind in of_model:
        own: Seconds = {}
        remote: Seconds = {}
        _add(own, opened[kind.first], 1)
        for shape, count in kind.runs:
            _add(own, layer[shape], count)
            _add(remote, experts.get(shape, {}), count)
        _add(own, closed[kind.last], 1)
        beside = remote | {"exchange": own.get("exchange", 0.0)}
        busy = _busiest_engine(own)
        if degrees.home == "per_stage":
            busy = np.maximum(busy, _busiest_engine(beside))
        if degrees.home == "shared":
            _add(shared, beside, kind.times)
        there = np.asarray(kind.times) > 0
        slowest = np.maximum(slowest, np.where(there, _sum(own) + _sum(remote), 0.0))
        busiest = np.maximum(busiest, np.where(there, busy, 0.0))
        _add(families, own, kind.times)
        _add(families, remote, kind.times)
    pass_s = _sum(families)
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


def _add(total: Seconds, part: Seconds, times: Size) -> None:
    for family, seconds in part.items():
        total[family] = total.get(family, 0.0) + times * seconds


def _sum(families: Seconds) -> Size:
    return sum(families.values(), start=cast(Size, 0.0))
