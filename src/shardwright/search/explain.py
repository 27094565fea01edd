"""Why a layout, why not another: its rules, limits and time beside the best, and the cheapest cure."""

import numpy as np

from shardwright.engine.engine import Breach
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Alternative, Pool, TargetCheck
from shardwright.record import Record
from shardwright.search.choices import Choice, choices
from shardwright.search.choose import Ranking
from shardwright.search.obstacles import obstacles
from shardwright.search.pool import build_pool, check_targets
from shardwright.search.room import Room, room_of
from shardwright.search.search import NoLayoutError, alternatives, nothing_fits, pick, ranked
from shardwright.search.table import Table
from shardwright.search.timing import time_layout

AXES = ("tp", "dp", "pp", "ep", "etp", "edp", "copies")


class Cure(Record):
    """The layout nearest to the one asked about that is legal, fits and meets the targets (if any does)."""

    changes: tuple[str, ...]
    """Degrees that differ, e.g. 'tp 2 -> 4'."""
    layout: Alternative


class Explanation(Record):
    """One layout beside the best one of its deployment."""

    schema_version: int = 1
    deployment: Deployment
    layout: str
    is_best: bool
    obstacles: tuple[Breach, ...]
    """Rules, GPUs, memory and sequences that keep it from running."""
    pool: Pool
    targets: tuple[TargetCheck, ...]
    best: Pool | None
    choices: tuple[Choice, ...]
    """How its steps are scheduled, each choice beside the other one."""
    slower_by_s: dict[str, float]
    """Seconds a step that each family of operations costs more (+) or less (-) than in the best layout."""
    rank: int | None
    """Place among the layouts that fit, from 1; None when it is not among them."""
    num_fitting: int
    cure: Cure | None
    room: Room
    """What fits the layout, and what would make room for more."""

    @property
    def sound(self) -> bool:
        """It runs, and meets every target."""
        return not self.obstacles and all(check.met for check in self.targets)


def explain(deployment: Deployment, layout: Layout | None = None) -> Explanation:
    """Price `layout` (the best one by default), hold it against every rule, limit and target, find a cure.

    Raises NoLayoutError when no layout is given and none fits.
    """
    table, ranking = ranked(deployment)
    chosen = table.layout(pick(deployment, table, ranking)[0]) if len(ranking.order) else None
    layout = layout or chosen
    if layout is None:
        raise NoLayoutError(nothing_fits(deployment, table, ranking))
    timing = time_layout(deployment, layout)
    pool = build_pool(deployment, layout, timing)
    best = None
    if chosen is not None:
        best = pool if layout == chosen else build_pool(deployment, chosen, time_layout(deployment, chosen))
    targets = check_targets(deployment.targets, pool.figures)
    found = obstacles(deployment, layout, timing.price)
    own = _place(layout, table, ranking)
    sound = not found and all(check.met for check in targets)
    return Explanation(
        deployment=deployment,
        layout=format_layout(layout),
        is_best=layout == chosen,
        obstacles=found,
        pool=pool,
        targets=targets,
        best=best,
        choices=choices(deployment, layout, timing),
        slower_by_s=_difference(pool, best),
        rank=None if own is None else own + 1,
        num_fitting=len(ranking.order),
        cure=None if sound else _cure(deployment, layout, table, ranking, own),
        room=room_of(deployment, layout),
    )


def _place(layout: Layout, table: Table, ranking: Ranking) -> int | None:
    """Where the layout stands in the ranking; None where it does not, as with stages of its own making."""
    alike = table.homes() == layout.home
    for axis in AXES:
        alike = alike & (table.degrees(axis) == getattr(layout, axis))
    places = np.flatnonzero(alike[ranking.order])
    if not len(places) or table.layout(int(ranking.order[places[0]])) != layout:
        return None
    return int(places[0])


def _difference(pool: Pool, best: Pool | None) -> dict[str, float]:
    if best is None:
        return {}
    families = {**best.seconds_by_family, **pool.seconds_by_family}
    return {
        name: pool.seconds_by_family.get(name, 0.0) - best.seconds_by_family.get(name, 0.0)
        for name in families
    }


def _cure(
    deployment: Deployment, layout: Layout, table: Table, ranking: Ranking, own: int | None
) -> Cure | None:
    """Fewest changed degrees, then the nearest GPU count, then the smallest changes."""
    sound = ranking.order[: ranking.num_meeting]
    if not len(sound):
        # No layout meets all targets: those that miss by less.
        worst = ranking.misses[ranking.order[own]] if own is not None else np.inf
        sound = ranking.order[ranking.misses[ranking.order] < worst]
    if not len(sound):
        return None
    columns = {axis: table.degrees(axis) for axis in AXES}
    steps = np.stack([np.abs(np.log2(columns[axis][sound] / getattr(layout, axis))) for axis in AXES])
    moved = table.homes()[sound] != layout.home
    more_gpus = np.abs(np.log2(table.num_gpus[sound] / layout.num_gpus))
    order = np.lexsort((steps.sum(axis=0), more_gpus, (steps > 0).sum(axis=0) + moved))
    row = int(sound[order[0]])
    cured = table.layout(row)
    changes = [
        f"{axis} {getattr(layout, axis)} -> {getattr(cured, axis)}"
        for axis in AXES
        if getattr(layout, axis) != getattr(cured, axis)
    ]
    if layout.home != cured.home:
        changes.append(f"experts {layout.home} -> {cured.home}")
    (found,) = alternatives(deployment, table, ranking, [row])
    return Cure(changes=tuple(changes), layout=found)
