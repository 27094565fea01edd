"""The stages of pipelines, equal ones counted together: of one layout, or of each of many."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.model.spec import LayerShape, ModelSpec
from shardwright.record import Size
from shardwright.steps.program import Stage


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Equal stages. Numbers, or arrays over layouts.

    runs: (shape, layers of it). times: how many such stages there are; 0 where a layout has none.
    first_stage: index of the first of them, in one layout.
    """

    runs: tuple[tuple[LayerShape, Size], ...]
    first: bool
    last: bool
    times: Size
    first_stage: int = 0

    @property
    def name(self) -> str:
        """Where it stands."""
        ends = {(True, True): "only", (True, False): "first", (False, True): "last", (False, False): "middle"}
        return ends[self.first, self.last]

    def at(self, rows: NDArray[Any]) -> "Kind":
        """The same of these rows of its arrays."""
        runs = tuple((shape, np.asarray(count)[rows]) for shape, count in self.runs)
        return replace(self, runs=runs, times=np.asarray(self.times)[rows])


@dataclass(frozen=True, kw_only=True)
class Pipelines:
    """The stages of many layouts.

    table: arrays over the depths of pipeline that occur. which: the depth of each layout.
    """

    table: tuple[Kind, ...]
    which: NDArray[np.intp]

    def where(self, rows: NDArray[Any]) -> "Pipelines":
        """Of the layouts that a mask or an index selects."""
        return replace(self, which=self.which[rows])


Layers = tuple[int, ...] | Pipelines
"""How layers are split into stages: the layers of each stage of one pipeline, or many pipelines."""


def pipelines(model: ModelSpec, split: Callable[[int, int], tuple[int, ...]], pp: NDArray[Any]) -> Pipelines:
    """The stages of layouts of these depths. split: (layers, pp) -> layers of each stage, the engine's."""
    depths, which = np.unique(pp, return_inverse=True)
    found = [kinds(model, split(model.num_layers, depth)) for depth in depths.tolist()]
    alike: dict[tuple[bool, bool, int], dict[int, Kind]] = {}
    for row, own in enumerate(found):
        seen: Counter[tuple[bool, bool]] = Counter()
        for kind in own:
            ends = kind.first, kind.last
            alike.setdefault((*ends, seen[ends]), {})[row] = kind
            seen[ends] += 1
    return Pipelines(table=tuple(_table(held, len(found)) for held in alike.values()), which=which)


def kinds(model: ModelSpec, layers: Layers) -> tuple[Kind, ...]:
    """The kinds of stages, in the order in which one layout first has them."""
    if isinstance(layers, Pipelines):
        return tuple(kind.at(layers.which) for kind in layers.table)
    every = stages(model, layers)
    return tuple(
        Kind(runs=stage.runs, first=stage.first, last=stage.last, times=times, first_stage=every.index(stage))
        for stage, times in Counter(every).items()
    )


def stages(model: ModelSpec, layers: tuple[int, ...]) -> list[Stage]:
    """The stages of a pipeline, equal layers of a stage counted together.

    Their shapes stand in the order in which the model first has them, so that equal stages compare equal.
    """
    every = model.layer_shapes
    shapes = dict.fromkeys(every)
    start, found = 0, []
    for index, count in enumerate(layers):
        held = Counter(every[start : start + count])
        runs = tuple((shape, held[shape]) for shape in shapes if shape in held)
        found.append(Stage(runs=runs, first=index == 0, last=index == len(layers) - 1, first_layer=start))
        start += count
    return found


def _table(held: dict[int, Kind], num_rows: int) -> Kind:
    """One kind of stage over pipelines of several depths, from the rows that have it."""

    def column(values: Sequence[Size]) -> NDArray[np.int64]:
        filled = np.zeros(num_rows, dtype=np.int64)
        filled[list(held)] = values
        return filled

    rows = [dict(kind.runs) for kind in held.values()]
    shapes = dict.fromkeys(shape for row in rows for shape in row)
    one = next(iter(held.values()))
    return Kind(
        runs=tuple((shape, column([row.get(shape, 0) for row in rows])) for shape in shapes),
        first=one.first,
        last=one.last,
        times=column([kind.times for kind in held.values()]),
    )
