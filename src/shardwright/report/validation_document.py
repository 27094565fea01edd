"""Predicted beside measured as a document: what was predicted, how near, how sure, and where TTFT goes."""

from collections import Counter
from collections.abc import Sequence

from shardwright.calibrate.measured.doubts import DOUBTS
from shardwright.calibrate.measured.validation import By, Score, TtftShares, Validation
from shardwright.report.document import (
    Bullets,
    Document,
    Heading,
    Item,
    Paragraph,
    columns,
    table,
)
from shardwright.report.words import counted
from shardwright.units import format_seconds, format_share

TITLES = {
    "tpot_s": "TPOT",
    "ttft_s": "TTFT",
    "output_tokens_per_s": "tokens/s",
    "e2e_s": "batch latency",
}
"""Metric -> as a column says it."""

SLICES: dict[By, str] = {"mode": "mode", "engine": "engine", "gpu": "GPU", "family": "model family"}

WHAT_ERRORS_SAY = (
    "Errors are |predicted / measured - 1|: their median and 90th percentile. Bias is the median of "
    "predicted / measured; in 90 % the share that lies inside its interval. Sound is what no rule puts in "
    "doubt. A configuration is all rows that differ in their day alone, measured by their medians."
)

FITTED = "Rows that the profile was fitted to are no test of it."

WHAT_TTFT_SAYS = (
    "Mean shares of the predicted mean TTFT of sound rows: before the scheduler sees a request (API), the "
    "queue of the first wave, which is sent at once, the queue of all later ones, and until the first token "
    "(prefill). Polling is what of both queues is waiting for an engine that does not look for new requests "
    "in every step."
)


def validation_document(found: Validation) -> Document:
    """The whole report."""
    return (
        Heading(f"Validation: {counted(len(found.rows), 'row')}", level=1),
        Paragraph(f"Predicted by the serving profile of {found.profile}."),
        *_coverage(found),
        *_errors(found),
        *_ttft(found.ttft),
    )


def _coverage(found: Validation) -> Document:
    heads = columns(
        "mode", ("rows", "number"), ("predicted", "number"), ("share", "number"), ("in doubt", "number")
    )
    rows = [
        (
            each.mode,
            f"{each.rows:,}",
            f"{each.cases:,}",
            format_share(each.cases / each.rows),
            f"{each.cases - each.fitted:,}",
        )
        for each in found.coverage
    ]
    return (*table(heads, rows), *_refusals(found), *_doubts(found))


def _refusals(found: Validation) -> Document:
    count = Counter(row.rule for row in found.rows if row.rule)
    first = {row.rule: row for row in reversed(found.rows) if row.rule}
    items = tuple(
        Item(f"{rule}, {counted(rows, 'row')}", f"{first[rule].row_id}: {_sentence(first[rule].status)}")
        for rule, rows in count.most_common()
    )
    return (Heading("Not predicted"), Bullets(items)) if items else ()


def _sentence(status: str) -> str:
    return status.split(": ", 1)[1]


def _doubts(found: Validation) -> Document:
    count = Counter(rule for row in found.rows for rule in row.doubts)
    items = tuple(
        Item(f"{rule.id}, {counted(count[rule.id], 'row')}", rule.sentence)
        for rule in DOUBTS
        if count[rule.id]
    )
    said = Paragraph("Predicted, but no measurement that an engine on those GPUs can have made.")
    return (Heading("In doubt"), said, Bullets(items)) if items else ()


def _errors(found: Validation) -> Document:
    if not found.scores:
        return (Paragraph("Nothing was measured of the rows that can be predicted."),)
    whole = [score for score in found.scores if score.by in ("all", "doubt")]
    blocks: Document = (
        Heading("Errors"),
        Paragraph(WHAT_ERRORS_SAY),
        *_scores("of", whole),
        Paragraph(FITTED),
    )
    for by, title in SLICES.items():
        scores = [each for each in found.scores if each.by == by and each.unit == "configuration"]
        if scores:
            blocks += (Heading(f"Errors by {title}, of configurations"), *_scores(title, scores))
    return blocks


def _scores(title: str, scores: Sequence[Score]) -> Document:
    """A row a score, the name of its slice in the first."""
    heads = columns(
        title,
        "figure",
        ("count", "number"),
        ("median", "number"),
        ("p90", "number"),
        ("bias", "number"),
        ("in 90 %", "number"),
    )
    names = [_name(score) for score in scores]
    rows = [
        (
            name if name != before else "",
            TITLES[score.metric],
            f"{score.count:,}",
            format_share(score.median),
            f"{score.p90:.0%}",
            f"{score.bias:.2f}",
            f"{score.inside:.0%}",
        )
        for score, name, before in zip(scores, names, ["", *names], strict=False)
    ]
    return table(heads, rows)


def _name(score: Score) -> str:
    if score.by == "all":
        return f"{score.name} {score.unit}s"
    return f"in doubt: {score.name}" if score.by == "doubt" else score.name


def _ttft(slices: tuple[TtftShares, ...]) -> Document:
    if not slices:
        return ()
    names = [part.name for part in slices[0].parts]
    heads = columns("of", ("rows", "number"), ("TTFT", "number"), *((name, "number") for name in names))
    rows = [
        (
            each.name,
            f"{each.rows:,}",
            format_seconds(each.median_s),
            *(f"{part.share:.0%}" for part in each.parts),
        )
        for each in slices
    ]
    return (Heading("Time to the first token"), Paragraph(WHAT_TTFT_SAYS), *table(heads, rows))
