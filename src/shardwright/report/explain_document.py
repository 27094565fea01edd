"""An explanation as a document: is the layout sound, where its time goes beside the best, what cures it."""

from shardwright.plan.plan import Pool
from shardwright.report.document import Bullets, Document, Heading, Item, Paragraph, columns, table
from shardwright.report.plan_document import assumptions, load, where
from shardwright.report.pool_blocks import (
    alternatives_table,
    choices_table,
    figures_table,
    memory_blocks,
    obstacles_blocks,
    targets_table,
    time_blocks,
)
from shardwright.report.room_blocks import room_blocks
from shardwright.report.words import FAMILIES, MET, MISSED, signed_seconds, verdict_on
from shardwright.search.engine import engine_of
from shardwright.search.explain import Explanation
from shardwright.units import format_rate, format_seconds, format_share


def explain_document(found: Explanation) -> Document:
    """The whole report of one explanation."""
    deployment, pool = found.deployment, found.pool
    targets = (Heading("Targets"), *targets_table(found.targets, pool)) if found.targets else ()
    return (
        Heading(f"{found.layout}: {deployment.name}", level=1),
        Paragraph(_standing(found), status=MET if found.sound else MISSED),
        Bullets((Item("Cluster", where(deployment)), Item("Load", load(deployment)))),
        *obstacles_blocks(found.obstacles),
        *_cure(found),
        *targets,
        Heading("Predicted figures"),
        *figures_table(pool),
        Heading("Where the time goes"),
        *time_blocks(deployment, pool),
        *choices_table(found.choices, engine_of(deployment).title),
        *_comparison(found),
        Heading("Memory"),
        *memory_blocks(deployment, pool),
        *room_blocks(deployment, found.room),
        *assumptions(deployment),
    )


def _standing(found: Explanation) -> str:
    if found.obstacles:
        return f"Cannot run: {', '.join(breach.rule for breach in found.obstacles)}."
    place = "the layout that the search takes" if found.is_best else "not the best"
    if found.rank is not None and not found.is_best:
        place += f": place {found.rank:,} of {found.num_fitting:,} that fit"
    return f"Legal, fits, {verdict_on(found.targets)}; {place}."


def _cure(found: Explanation) -> Document:
    if found.sound:
        return ()
    if found.cure is None:
        return (Heading("Cheapest cure"), Paragraph("No other layout of this deployment does better."))
    outcome = "runs and misses no target" if found.cure.layout.meets_targets else "misses the targets by less"
    text = f"{', '.join(found.cure.changes)}: {found.cure.layout.layout} {outcome}."
    return (Heading("Cheapest cure"), Paragraph(text), *alternatives_table((found.cure.layout,)))


def _comparison(found: Explanation) -> Document:
    best = found.best
    if best is None or found.is_best:
        return ()
    rows = [
        (
            FAMILIES.get(family, family),
            format_seconds(found.pool.seconds_by_family.get(family, 0.0)),
            format_seconds(best.seconds_by_family.get(family, 0.0)),
            signed_seconds(seconds),
        )
        for family, seconds in sorted(found.slower_by_s.items(), key=lambda item: -abs(item[1]))
        if abs(seconds) > 0
    ]
    heads = columns(
        "family of operations", (found.layout, "number"), (best.layout, "number"), ("difference", "number")
    )
    return (
        Heading(f"Beside {best.layout}"),
        Paragraph(_beside(found.pool, best)),
        *table(heads, rows),
    )


def _beside(pool: Pool, best: Pool) -> str:
    here, there = pool.figures, best.figures
    return (
        f"TPOT {format_seconds(here.tpot_s.value)} against {format_seconds(there.tpot_s.value)}, "
        f"throughput {format_rate(here.throughput_tokens_per_s.value)} against "
        f"{format_rate(there.throughput_tokens_per_s.value)}, communication "
        f"{format_share(here.communication_fraction.value)} against "
        f"{format_share(there.communication_fraction.value)} (all predicted). "
        "The table compares one micro-batch through all stages; more micro-batches in flight repeat it."
    )
