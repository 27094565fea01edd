"""Which layouts no engine can run, by the rule that they break."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from shardwright.engine.engine import Rule
from shardwright.layout.notation import format_layout
from shardwright.plan.plan import Rejected
from shardwright.search.candidates import ARRAYS, Candidates, Ints


class Illegal:
    """For each rule: how many layouts break it, and the one that comes nearest to keeping it."""

    def __init__(self) -> None:
        self._found: dict[str, Rejected] = {}

    def note(self, single: Candidates, found: Mapping[Rule, NDArray[np.float64]]) -> None:
        """Count the layouts that break each rule, by their excess over it."""
        broken = {rule: rows for rule, excess in found.items() if len(rows := np.flatnonzero(excess > 0))}
        # By the first pp that breaks it, then in the order of the rules.
        for rule, rows in sorted(broken.items(), key=lambda item: int(single.pp[item[1][0]])):
            self._add(rule, single, found[rule], rows)

    def _add(self, rule: Rule, single: Candidates, excess: NDArray[np.float64], broken: Ints) -> None:
        old = self._found.get(rule.id)
        count = len(broken) + (old.count if old else 0)
        least = excess[broken].min()
        if old is not None and old.excess <= least:
            self._found[rule.id] = old.model_copy(update={"count": count})
            return
        near = broken[excess[broken] == least]
        near = near[single.pp[near] == single.pp[near[0]]]
        nearest = int(near[single.num_gpus[near].argmin()])
        self._found[rule.id] = Rejected(
            rule=rule.id,
            sentence=rule.sentence,
            count=count,
            example=_name(single, nearest),
            excess=float(least),
            unit=rule.unit,
            cure=rule.cure,
        )

    def rows(self) -> tuple[Rejected, ...]:
        return tuple(self._found.values())


def _name(single: Candidates, index: int) -> str:
    """Canonical where the degrees make a layout, else the degrees themselves."""
    try:
        return format_layout(single.layout(index))
    except ValueError:
        degrees = {name: int(getattr(single, name)[index]) for name in ARRAYS}
        return ".".join(f"{name}{value}" for name, value in degrees.items() if value > 1)
