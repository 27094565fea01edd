"""A check as a document: what the engine realised beside the plan."""

from shardwright.launch.check import Check, CheckRow
from shardwright.report.document import Bullets, Document, Heading, Paragraph, columns, table
from shardwright.report.words import MET, MISSED
from shardwright.units import format_seconds

AS_PLANNED, OTHER, NOT_COMPARED = "as planned", "DIFFERS", "not compared"
VERDICTS = {True: AS_PLANNED, False: OTHER, None: NOT_COMPARED}


def check_document(check: Check) -> Document:
    """Every fact, and why some cannot be compared."""
    return (
        Heading(f"Check: {check.layout} on {check.engine}", level=1),
        Paragraph(_answer(check), status=MET if check.met else MISSED),
        *table(
            columns("what", "planned", "realised", ("verdict", "status")),
            [(row.what, row.planned, row.realised, VERDICTS[row.ok]) for row in check.rows],
        ),
        *_reasons(check.rows),
        Paragraph(
            "Realised is what the engine's processes print of themselves; of its speed it says nothing."
        ),
    )


def _answer(check: Check) -> str:
    started = "" if check.startup_s is None else f"; ready after {format_seconds(check.startup_s)} (measured)"
    wrong = sum(row.ok is False for row in check.rows)
    compared = sum(row.ok is not None for row in check.rows)
    if check.met:
        return f"The engine runs the plan: all {compared} facts that can be compared are as planned{started}."
    return f"The engine does NOT run the plan: {wrong} of {compared} facts differ{started}."


def _reasons(rows: tuple[CheckRow, ...]) -> Document:
    """Each reason once, with what it is about."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.why:
            reasons.setdefault(row.why, []).append(row.what)
    lines = tuple(f"Not compared: {', '.join(about)}: {why}." for why, about in reasons.items())
    return (Bullets(lines),) if lines else ()
