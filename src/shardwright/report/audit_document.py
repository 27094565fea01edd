"""An audit as a document: the verdict, what the strategy means, what it costs, what is wrong, what is better.

The sections are those of the documents that it audits, so that the two can be read side by side.
"""

from shardwright.audit.record import Audit, ReadingRow, Reason
from shardwright.engine.catalog import ENGINES
from shardwright.engine.engine import Verdict
from shardwright.report.advice import advice
from shardwright.report.document import Bullets, Document, Heading, Item, Paragraph, columns, in_detail, table
from shardwright.report.findings import balance, issues, modules
from shardwright.report.performance import performance
from shardwright.report.plan_document import PREDICTED, assumptions, where
from shardwright.report.readiness import conclusion, readiness
from shardwright.report.strategy import strategy
from shardwright.report.words import counted, verdict_on


def audit_document(audit: Audit) -> Document:
    """The whole report of `audit`."""
    return (
        *_summary(audit),
        *_readings(audit),
        *_engines(audit),
        *strategy(audit),
        *performance(audit),
        *balance(audit),
        *modules(audit),
        *issues(audit),
        *advice(audit),
        *readiness(audit),
        *assumptions(audit.deployment),
        *conclusion(audit),
    )


def _summary(audit: Audit) -> Document:
    level = audit.verdict.level
    reasons = tuple(
        Item(row.outcome.capitalize(), _reason(row, audit))
        for row in audit.verdict.reasons
        if row.outcome != "holds"
    )
    better = tuple(
        Item(f"Best on {row.scope}", f"{row.pool.layout}, {counted(row.pool.num_gpus, 'GPU')}")
        for row in audit.better
        if row.pool.layout != audit.layout
    )
    notes = (Bullets(audit.notes),) if audit.notes else ()
    subject = f"{audit.strategy} on {audit.declared_gpus:,} of {where(audit.deployment)}"
    return (
        Heading(f"Audit: {audit.deployment.name}", level=1),
        Heading("Executive Summary"),
        Paragraph(f"{level.capitalize()}: {subject}.", status=level),
        *((Bullets(reasons + better),) if reasons + better else ()),
        *notes,
        Paragraph(PREDICTED),
    )


def _reason(row: Reason, audit: Audit) -> str:
    """Why it is not ready; statements by title only, since their sentences follow among the issues."""
    wrong = [found for found in audit.findings if found.status == "contradicted"]
    match row.id:
        case "targets_met":
            return f"{verdict_on(audit.targets)}, as predicted."
        case "decisive_claims":
            titles = "; ".join(found.title for found in wrong if found.decisive)
            return f"Contradicted on capacity or speed: {titles}."
        case "other_claims":
            others = sum(not found.decisive for found in wrong)
            return f"{counted(others, 'other statement')} contradicted, see the critical issues."
    return row.sentence


def _readings(audit: Audit) -> Document:
    heads = columns(
        ("GPUs", "number"),
        ("layout", "name"),
        "rule",
        "contradicts",
        ("engines", "number"),
        ("cluster", "status"),
    )
    rows = [
        (
            f"{row.gpus:,}",
            row.layout,
            row.rule,
            row.contradicts,
            f"{len(row.engines)}",
            _place(row),
        )
        for row in audit.readings
    ]
    counts = tuple(
        Item(row.layout, f"{'; also: '.join((row.sentence, *row.also))}. Source: {row.source}.")
        for row in audit.readings
    )
    nearest = (Paragraph(f"Nearest: {audit.nearest.sentence}"),) if audit.nearest else ()
    growth = tuple(
        Item(f"{step.gpus:,} GPUs, {step.more_gpus:,} more", ", ".join(step.layouts)) for step in audit.growth
    )
    return (
        Heading(f"Readings of {audit.strategy}"),
        *table(heads, rows),
        Paragraph(f"Read here: {audit.choice}."),
        *nearest,
        *in_detail((Heading("Who counts so", level=3), Bullets(counts)) if counts else ()),
        *in_detail((Heading("Growth", level=3), Bullets(growth)) if growth else ()),
    )


def _place(row: ReadingRow) -> str:
    if row.shortfall:
        return f"lacks {row.shortfall:,}"
    return "declared" if row.matches_declared else "fits"


def _engines(audit: Audit) -> Document:
    heads = columns(
        "engine",
        ("literally", "status"),
        ("GPUs", "number"),
        ("is", "name"),
        ("nearest legal", "name"),
    )
    rows = [
        (
            f"{ENGINES[row.engine].title} {row.version}",
            "accepted" if row.accepted else "refused",
            f"{row.gpus:,}" if row.gpus is not None else "",
            row.layout or "",
            row.nearest or "",
        )
        for row in audit.verdicts
    ]
    why = tuple(Item(ENGINES[row.engine].title, _said(row)) for row in audit.verdicts)
    return (Heading("Engine Verdicts"), *table(heads, rows), *in_detail((Bullets(why),) if why else ()))


def _said(row: Verdict) -> str:
    nearest = f" Nearest: {row.nearest_arguments}." if row.nearest_arguments else ""
    return f"{row.sentence} (as {row.arguments}; rule {row.rule}; {row.source}).{nearest}"
