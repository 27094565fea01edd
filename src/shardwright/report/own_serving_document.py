"""A serving profile of one's own as a document: each measured figure, and how far off predictions are."""

from statistics import median

from shardwright.calibrate.measured.own import OwnCalibration, OwnRow
from shardwright.report.document import Bullets, ColumnKind, Document, Heading, Paragraph, columns, table
from shardwright.units import format_rate, format_seconds, format_share

NAMES = {
    "tpot_s": "TPOT",
    "ttft_s": "TTFT",
    "output_tokens_per_s": "throughput",
    "e2e_s": "batch latency",
}

WHAT_IT_SAYS = (
    "Errors are |predicted / measured - 1|: before, by what is shipped; after, by a fit to all rows; left "
    "out, by a fit to all rows but that one, which is what to expect of the next configuration."
)


def own_serving_document(found: OwnCalibration) -> Document:
    """The whole report."""
    errors: tuple[tuple[str, ColumnKind], ...] = (
        ("before", "number"),
        ("after", "number"),
        ("left out", "number"),
    )
    heads = columns("row", "", ("measured", "number"), *errors)
    return (
        Heading("Calibration on rows of one's own", level=1),
        Paragraph(WHAT_IT_SAYS),
        *table(heads, [_row(row) for row in found.rows]),
        *table(
            columns("median of", ("rows", "number"), *errors),
            [_median(metric, found) for metric in NAMES if any(row.metric == metric for row in found.rows)],
        ),
        *((Heading("Not used"), Bullets(found.refused)) if found.refused else ()),
    )


def _row(row: OwnRow) -> tuple[str, ...]:
    rate = row.metric == "output_tokens_per_s"
    measured = format_rate(row.measured) if rate else format_seconds(row.measured)
    return (row.row_id, NAMES[row.metric], measured, *map(_share, (row.before, row.after, row.left_out)))


def _median(metric: str, found: OwnCalibration) -> tuple[str, ...]:
    rows = [row for row in found.rows if row.metric == metric]
    out = [row.left_out for row in rows if row.left_out is not None]
    before, after = median(row.before for row in rows), median(row.after for row in rows)
    shares = (before, after, median(out) if out else None)
    return (NAMES[metric], str(len(rows)), *map(_share, shares))


def _share(value: float | None) -> str:
    return "" if value is None else format_share(value)
