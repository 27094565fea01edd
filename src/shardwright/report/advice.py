"""What would be better: changes to the audited layout with their gains, and other layouts."""

from shardwright.audit.record import Audit, Better, Recommendation
from shardwright.plan.plan import Pool, TargetCheck
from shardwright.report.document import Bullets, Document, Heading, Item, Paragraph, columns, in_detail, table
from shardwright.report.pool_blocks import figures_table, targets_table
from shardwright.report.starting import starting
from shardwright.report.strategy import nothing_priced
from shardwright.report.words import MISSED, QUANTITIES, counted, outcome, with_interval
from shardwright.units import format_bytes, format_seconds, format_share

IMMEDIATE = frozenset({"overlap", "batched_exchange", "hierarchical"})
"""Changes of communication alone; the others change what runs or where."""


def advice(audit: Audit) -> Document:
    """Recommendations, then the best layouts."""
    rows = audit.recommendations
    heads, cells = columns("change", "predicted gain"), [(row.title, _gain(row)) for row in rows]
    return (
        Heading("Optimization Recommendations"),
        *(table(heads, cells) or (nothing_priced(),)),
        *_told("Immediate Optimizations", [row for row in rows if row.id in IMMEDIATE]),
        *_told("Advanced Optimizations", [row for row in rows if row.id not in IMMEDIATE]),
        *_better(audit),
    )


def _told(title: str, rows: list[Recommendation]) -> Document:
    sentences = tuple(Item(row.title, row.sentence) for row in rows)
    return in_detail((Heading(title, level=3), Bullets(sentences)) if rows else ())


def _gain(row: Recommendation) -> str:
    gains = []
    if row.gain_s > 0:
        most = "at most " if row.is_bound else ""
        gains.append(f"{most}{format_seconds(row.gain_s)}, {format_share(row.gain_fraction)} of TPOT")
    if row.gain_bytes > 0:
        gains.append(f"{format_bytes(row.gain_bytes)} a GPU")
    return "; ".join(gains) or "none here"


def _better(audit: Audit) -> Document:
    if not audit.better:
        return ()
    rows = [_row(row.scope, row.pool, row.targets) for row in audit.better]
    heads = columns("on", ("layout", "name"), ("GPUs", "number"), "TPOT", "tokens/s", "targets missed")
    because = tuple(Item(row.pool.layout, " ".join(row.because)) for row in audit.better if row.because)
    why = (Bullets(because),) if because else ()
    full = tuple(block for row in audit.better for block in _in_full(audit, row))
    return (Heading("Best Layouts", level=3), *table(heads, rows), *why, *in_detail(full))


def _row(scope: str, pool: Pool, checks: tuple[TargetCheck, ...]) -> tuple[str, ...]:
    figures = pool.figures
    tpot = with_interval(figures.tpot_s, format_seconds)
    rate = with_interval(figures.throughput_tokens_per_s, lambda value: f"{value:,.0f}")
    missed = [QUANTITIES[check.name].title for check in checks if outcome(check) == MISSED]
    return (scope, pool.layout, f"{pool.num_gpus:,}", tpot, rate, ", ".join(missed) or "none")


def _in_full(audit: Audit, row: Better) -> Document:
    runs_on = Paragraph(f"{counted(len(row.engines), 'engine')} can run it: {', '.join(row.engines)}.")
    return (
        Heading(f"{row.pool.layout} on {row.scope}", level=4),
        Paragraph(f"{row.reason}."),
        *starting(audit.deployment, row.pool),
        runs_on,
        *figures_table(row.pool),
        *targets_table(row.targets, row.pool),
    )
