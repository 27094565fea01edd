"""An old plan beside a new one: what differs, in inputs and outcome, and which input makes the difference.

The old layout is priced anew under the old inputs and under the new ones, so that what the program learnt
since is told from what the inputs changed, and that from what another layout wins. Where several inputs
differ, each is also changed by itself.
"""

from shardwright import __version__
from shardwright.errors import InputError
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import MEMORY_PARTS, Figures, MemoryRow, Plan
from shardwright.plan.strategy import resolve_layout
from shardwright.search.choose import NEAR_EQUAL
from shardwright.search.comparison import (
    SAME,
    Alone,
    Comparison,
    FigureChange,
    MemoryChange,
    Repriced,
    Side,
    TargetChange,
    alike,
)
from shardwright.search.inputs import differing_inputs, plain
from shardwright.search.search import NoLayoutError, plan_for, search

PRICED = (
    "model",
    "cluster",
    "workload",
    "targets",
    "objective",
    "reserve_gpus",
    "engine",
    "tuning",
    "profile",
    "serving",
)
"""Fields of a deployment that figures, or the choice among layouts, depend on."""


def compare(old: Plan, new: Plan) -> Comparison:
    """The changes from `old` to `new`. Takes about as long as a search for each input that differs."""
    then, now = old.deployment, new.deployment
    layout = old.pools[0].layout
    changed = layout != new.pools[0].layout
    before, after = _side(old), _side(new)
    repriced = _price(then, layout)
    old_layout_now = _price(now, layout) if changed else None
    fields = [field for field in PRICED if plain(getattr(then, field)) != plain(getattr(now, field))]
    searched = changed and before.searched and after.searched
    return Comparison(
        tool_version=__version__,
        before=before,
        after=after,
        inputs=differing_inputs(old, new),
        figures=_figures(old.pools[0].figures, new.pools[0].figures),
        memory=_memory(old, new),
        targets=_targets(old, new),
        repriced=repriced,
        price_changed=not _priced_alike(old.pools[0].figures, repriced.figures),
        old_layout_now=old_layout_now,
        verdict="" if old_layout_now is None else _verdict(new, old_layout_now),
        old_inputs_winner=_winner(then) if searched else None,
        alone=tuple(
            Alone(
                field=field,
                old_layout=_price(mixed, layout),
                winner=_winner(mixed) if searched else None,
            )
            for field in fields
            for mixed in (then.model_copy(update={field: getattr(now, field)}),)
        )
        if len(fields) > 1
        else (),
    )


def _side(plan: Plan) -> Side:
    return Side(
        layout=plan.pools[0].layout,
        num_gpus=sum(pool.num_gpus for pool in plan.pools),
        reason=plan.reason,
        met=plan.met,
        tool_version=plan.tool_version,
        engine_version=plan.engine_version,
        searched=bool(plan.pareto),  # which a layout asked for has none of
    )


def _price(deployment: Deployment, text: str) -> Repriced:
    """The layout under these inputs. One that the model's kind excludes has no price."""
    try:
        layout, _ = resolve_layout(deployment, text)
        plan = plan_for(deployment, layout, reason="")
    except InputError as error:
        return Repriced(figures=None, refused=str(error))
    return Repriced(
        figures=plan.pools[0].figures,
        obstacles=plan.obstacles,
        missed=tuple(check.name for check in plan.targets if not check.met),
        worst_miss=_worst_miss(plan),
    )


def _worst_miss(plan: Plan) -> float:
    ratios = [check.predicted / check.target for check in plan.targets if not check.met and check.target]
    return max((max(ratio, 1 / ratio) for ratio in ratios if ratio), default=1.0)


def _verdict(new: Plan, old_layout: Repriced) -> str:
    """Why the search takes another layout, by its own order: what runs, targets, the objective, engines."""
    if not new.pareto:
        return "the deployment asks for the new one"
    if not old_layout.runs or old_layout.figures is None:
        return "the old one cannot run"
    if old_layout.missed and new.met:
        return "the old one misses a target, the new one none"
    nearest = _worst_miss(new)
    if old_layout.worst_miss > nearest * (1 + SAME):
        return f"the old one misses by {old_layout.worst_miss:.2f} x, the new one by {nearest:.2f} x"
    now, figures = new.pools[0].figures, old_layout.figures
    match new.deployment.objective:
        case "throughput_per_gpu":
            gain = now.throughput_tokens_per_s.value / figures.throughput_tokens_per_s.value - 1
            what = "more throughput"
        case "latency":
            gain, what = figures.tpot_s.value / now.tpot_s.value - 1, "less TPOT"
        case _:
            return f"the new one is better by the objective, {new.deployment.objective}"
    if gain <= NEAR_EQUAL:
        return (
            f"both within {NEAR_EQUAL:.0%} by the objective, where the search prefers what most engines run"
        )
    return f"the new one has {gain:.1%} {what}"


def _winner(deployment: Deployment) -> str | None:
    try:
        return search(deployment, num_alternatives=0).pools[0].layout
    except (NoLayoutError, InputError):
        return None


def _priced_alike(before: Figures, after: Figures | None) -> bool:
    if after is None:
        return False
    rows = ((getattr(before, name), getattr(after, name)) for name in Figures.model_fields)
    return all(
        alike(getattr(old, end), getattr(new, end)) for old, new in rows for end in ("value", "low", "high")
    )


def _figures(before: Figures, after: Figures) -> tuple[FigureChange, ...]:
    rows = []
    for name in Figures.model_fields:
        old, new = getattr(before, name), getattr(after, name)
        overlap = old.low <= new.high and new.low <= old.high
        rows.append(FigureChange(name=name, before=old, after=new, overlap=overlap))
    return tuple(rows)


def _memory(old: Plan, new: Plan) -> tuple[MemoryChange, ...]:
    before, after = _fullest(old), _fullest(new)
    return tuple(
        MemoryChange(part=part, before=getattr(before, part), after=getattr(after, part))
        for part in MEMORY_PARTS
        if not alike(getattr(before, part), getattr(after, part))
    )


def _fullest(plan: Plan) -> MemoryRow:
    return max(plan.pools[0].memory, key=lambda row: row.used)


def _targets(old: Plan, new: Plan) -> tuple[TargetChange, ...]:
    before, after = ({check.name: check for check in plan.targets} for plan in (old, new))
    rows = []
    for name in dict.fromkeys((*before, *after)):
        was, is_now = before.get(name), after.get(name)
        row = TargetChange(
            name=name,
            before=None if was is None else was.target,
            after=None if is_now is None else is_now.target,
            met_before=None if was is None else was.met,
            met_after=None if is_now is None else is_now.met,
        )
        if (row.before, row.met_before) != (row.after, row.met_after):
            rows.append(row)
    return tuple(rows)
