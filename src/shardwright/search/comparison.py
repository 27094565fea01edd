"""What changed from an old plan to a new one: its records."""

from math import isclose

from shardwright.engine.engine import Breach
from shardwright.plan.plan import Figures, Plan
from shardwright.record import Record
from shardwright.search.inputs import Change
from shardwright.units import Estimate

SAME = 1e-9
"""Relative: another machine's libraries round the last digits otherwise."""


def alike(before: float, after: float) -> bool:
    """Whether two figures are one."""
    return isclose(before, after, rel_tol=SAME, abs_tol=SAME)


class Side(Record):
    """One of the two plans, in short."""

    layout: str
    num_gpus: int
    reason: str
    met: bool
    tool_version: str
    engine_version: str
    searched: bool
    """The best of several layouts; else the one that the deployment asked for."""


class FigureChange(Record):
    """One predicted figure of both plans. overlap: of the intervals: the difference may then be none."""

    name: str
    before: Estimate
    after: Estimate
    overlap: bool

    @property
    def changed(self) -> bool:
        return not alike(self.before.value, self.after.value)


class MemoryChange(Record):
    """Bytes of one part of the fullest rank of each plan, where they differ."""

    part: str
    before: float
    after: float


class TargetChange(Record):
    """A target, or its outcome, that differs; None where a plan has no such target."""

    name: str
    before: float | None
    after: float | None
    met_before: bool | None
    met_after: bool | None


class Repriced(Record):
    """The old layout, priced now. refused: why it cannot be priced at all, or ''."""

    figures: Figures | None
    obstacles: tuple[Breach, ...] = ()
    missed: tuple[str, ...] = ()
    """Names of targets."""
    worst_miss: float = 1.0
    """By which factor it misses the target that it misses by most; 1 meets them all."""
    refused: str = ""

    @property
    def runs(self) -> bool:
        return self.figures is not None and not self.obstacles


class Alone(Record):
    """One input as it is now, all others as they were. winner: the layout that the search then takes; None
    where nothing fits, or where the plans were not searched."""

    field: str
    old_layout: Repriced
    winner: str | None


class Comparison(Record):
    """What changed from an old plan to a new one, and why.

    inputs: each that differs. repriced: the old layout under the old inputs, by this version; under the new
    ones: old_layout_now, None where it is the new plan's own. old_inputs_winner: what the search takes today
    under the old inputs. alone: where several inputs differ.
    """

    schema_version: int = 1
    tool_version: str
    before: Side
    after: Side
    inputs: tuple[Change, ...]
    figures: tuple[FigureChange, ...]
    memory: tuple[MemoryChange, ...]
    targets: tuple[TargetChange, ...]
    repriced: Repriced
    price_changed: bool
    """The old layout has other figures today, under the same inputs."""
    old_layout_now: Repriced | None
    verdict: str
    """Why the new layout and not the old one, today; '' where both are one."""
    old_inputs_winner: str | None
    alone: tuple[Alone, ...]

    @property
    def winner_changed(self) -> bool:
        return self.before.layout != self.after.layout

    @property
    def nothing(self) -> bool:
        """Neither an input nor an outcome differs."""
        outcome = (self.winner_changed, self.price_changed, any(row.changed for row in self.figures))
        return not (any(outcome) or self.inputs or self.memory or self.targets)


class ComparedPlan(Record):
    """What `plan --compare OLD --json` prints: the plan, as without it, and the comparison."""

    schema_version: int = 1
    plan: Plan
    comparison: Comparison
