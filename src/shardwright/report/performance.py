"""What the audited layout is predicted to do, beside what is asked and what is claimed."""

from shardwright.audit.record import Audit, Finding
from shardwright.plan.claims import Claims
from shardwright.plan.plan import Pool
from shardwright.report.document import Bullets, Document, Heading, Item, columns, in_detail, table
from shardwright.report.pool_blocks import figures_table, memory_blocks, time_blocks
from shardwright.report.strategy import nothing_priced, priced_deployment
from shardwright.report.words import QUANTITIES, outcome, with_interval

SECTIONS = {
    "Latency": ("tpot_ms", ("tpot", "ttft", "latency_throughput", "latency_gain", "latency_reduction")),
    "Throughput": (
        "throughput_tokens_per_s",
        ("throughput", "targets_together", "throughput_gain", "pipeline_idle"),
    ),
    "Memory Efficiency": (
        "memory_gb",
        ("memory_per_gpu", "memory_by_map", "memory_formula", "memory_utilisation", "memory_headroom"),
    ),
    "Communication Overhead": ("communication_fraction", ("communication", "communication_gain")),
}
"""Section -> its quantity and the findings whose arithmetic it shows."""

CLAIMED_BY = {
    "tpot_ms": "tpot",
    "ttft_ms": "ttft",
    "throughput_tokens_per_s": "throughput",
    "memory_gb": "memory_per_gpu",
    "communication_fraction": "communication",
}
"""Claim -> the finding that is there when the claim is about the strategy under audit."""

SHOWN_HERE = frozenset(id for _, ids in SECTIONS.values() for id in ids)
"""Findings whose arithmetic stands in these sections and nowhere else."""


def performance(audit: Audit) -> Document:
    """Figures, targets with claims, then one section for each quantity."""
    pool = audit.pool
    if pool is None:
        return (Heading("Performance Analysis"), nothing_priced(), *_sections(audit))
    deployment = priced_deployment(audit)
    return (
        Heading("Performance Analysis"),
        *_beside(audit, pool),
        *_sections(audit),
        *in_detail(
            (
                Heading("Predicted Figures", level=3),
                *figures_table(pool),
                Heading("Where the Time Goes", level=3),
                *time_blocks(deployment, pool),
                Heading("Memory by Part", level=3),
                *memory_blocks(deployment, pool),
            )
        ),
    )


def _beside(audit: Audit, pool: Pool) -> Document:
    """One row a quantity: asked, claimed, predicted, and whether the prediction reaches what is asked."""
    checks = {check.name: check for check in audit.targets}
    rows = [
        (
            quantity.title,
            quantity.target(checks[name].target) if name in checks else "no target",
            claimed(audit, name),
            with_interval(quantity.figure(pool.figures), quantity.form),
            outcome(checks[name]) if name in checks else "",
        )
        for name, quantity in QUANTITIES.items()
    ]
    return table(columns("figure", "asked", "claimed", "predicted", ("outcome", "status")), rows)


def _sections(audit: Audit) -> Document:
    blocks: list[Heading | Bullets] = []
    for title, (name, ids) in SECTIONS.items():
        blocks += (Heading(title, level=3), Bullets(_items(audit, name, ids)))
    return in_detail(tuple(blocks))


def _items(audit: Audit, name: str, ids: tuple[str, ...]) -> tuple[Item, ...]:
    quantity = QUANTITIES[name]
    check = next((check for check in audit.targets if check.name == name), None)
    asked = getattr(audit.deployment.targets, name)
    items = [
        Item("Target", "none stated" if asked is None else quantity.target(asked)),
        Item("Claimed", claimed(audit, name) or "nothing"),
    ]
    if audit.pool is not None:
        predicted = with_interval(quantity.figure(audit.pool.figures), quantity.form)
        result = f": {outcome(check)}" if check else ""
        items.append(Item("Predicted", f"{predicted}{result}"))
    items += [Item(_label(row), "; ".join(row.arithmetic) or row.truth) for row in _chosen(audit, ids)]
    return tuple(items)


def _chosen(audit: Audit, ids: tuple[str, ...]) -> list[Finding]:
    return [row for row in audit.findings if row.id.split(":")[0] in ids]


def _label(row: Finding) -> str:
    return f"{row.title} ({row.status})"


def claimed(audit: Audit, name: str) -> str:
    """The claim as a sentence would say it; '' where none is made of the strategy under audit."""
    stated = getattr(audit.deployment.claims or Claims(), name)
    if stated is None or not _chosen(audit, (CLAIMED_BY[name],)):
        return ""
    quantity = QUANTITIES[name]
    return quantity.form(stated * quantity.unit)
