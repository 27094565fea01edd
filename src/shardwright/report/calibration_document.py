"""A calibration as a document: every law with its errors on shapes that it never saw."""

from itertools import chain

from shardwright.calibrate.calibration import Calibration, Outcome
from shardwright.calibrate.score import Score
from shardwright.cost.law import Band
from shardwright.report.document import Document, Heading, Paragraph, columns, table

WHAT_IT_SAYS = (
    "Errors are |predicted / measured - 1|, median / 90th percentile, on shapes that no fit saw: a fifth of "
    "the shapes at a time is predicted by a law of the rest. 'inside' is the share of rows within the 90 % "
    "interval that the rest sets. Bands go by the feature named."
)


def calibration_document(found: Calibration) -> Document:
    """The whole report of one calibration."""
    devices = dict.fromkeys(outcome.device for outcome in found.outcomes)
    tables = (_device(name, found) for name in devices)
    return (Heading("Calibration", level=1), Paragraph(WHAT_IT_SAYS), *chain.from_iterable(tables))


def _device(name: str, found: Calibration) -> Document:
    titles = columns(
        "operation",
        "kernel",
        "format",
        ("rows", "number"),
        ("error", "number"),
        ("inside", "number"),
        "by band",
        "left out",
    )
    rows = [_row(outcome) for outcome in found.outcomes if outcome.device == name]
    return (Heading(name), *table(titles, rows))


def _row(outcome: Outcome) -> tuple[str, ...]:
    score = outcome.score
    return (
        outcome.operation,
        f"{outcome.kernels} {outcome.version}: {outcome.kernel}",
        outcome.format,
        f"{outcome.rows:,}",
        _all_errors(score) if score else "nothing held out" if outcome.rows else "no law",
        f"{score.covered:.0%}" if score else "",
        ", ".join(_band(band, outcome.scale) for band in score.bands) if score else "",
        "; ".join(f"{count:,}: {reason}" for reason, count in outcome.excluded.items()),
    )


def _all_errors(score: Score) -> str:
    parts = "".join(f"; {name} {_errors(*errors)}" for name, errors in score.parts.items())
    return _errors(score.median, score.p90) + parts


def _band(band: Band, scale: str) -> str:
    where = "beyond" if band.upto is None else f"{scale} <= {band.upto:g}"
    return f"{where} {_errors(band.median, band.p90)}"


def _errors(median: float, p90: float) -> str:
    return f"{median * 100:.1f} / {p90 * 100:.1f} %"
