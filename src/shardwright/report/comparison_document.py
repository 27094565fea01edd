"""Two plans compared as a document: what came out, why, and every input that differs."""

from collections.abc import Iterator

from shardwright.plan.plan import Figures
from shardwright.report.document import Bullets, Document, Heading, Item, Paragraph, columns, table
from shardwright.report.pool_blocks import PARTS
from shardwright.report.words import QUANTITIES, Form, counted, with_interval
from shardwright.search.comparison import Alone, Comparison, Repriced, TargetChange
from shardwright.units import format_bytes, format_rate, format_seconds, format_share

FIGURES: dict[str, tuple[str, Form]] = {
    "tpot_s": ("TPOT", format_seconds),
    "step_s": ("step without prefills", format_seconds),
    "ttft_s": ("TTFT", format_seconds),
    "throughput_tokens_per_s": ("throughput", format_rate),
    "throughput_per_gpu": ("throughput a GPU", format_rate),
    "communication_fraction": ("communication, exposed", format_share),
    "communication_busy": ("communication, busy", format_share),
    "memory_bytes": ("memory, fullest GPU", format_bytes),
}
"""Field of Figures -> title and form."""

HEADLINE = ("tpot_s", "ttft_s", "throughput_tokens_per_s")

MOST_INPUTS = 24
"""Rows of inputs that are drawn: another model differs in dozens of fields. The JSON has all."""


def comparison_document(found: Comparison) -> Document:
    """The whole report of one comparison."""
    if found.nothing:
        return (
            Heading("Compared with the old plan"),
            Paragraph(f"Nothing differs: {found.before.layout}, the same inputs and figures.", status="met"),
        )
    return (
        Heading("Compared with the old plan"),
        Bullets(tuple(_why(found))),
        *_inputs(found),
        *_alone(found),
        Heading("Figures, before and after"),
        *_figures(found),
        *_targets(found.targets),
        *_memory(found),
    )


def _why(found: Comparison) -> Iterator[str | Item]:
    before, after = found.before, found.after
    if found.winner_changed:
        gpus = f"{before.layout} on {counted(before.num_gpus, 'GPU')}"
        yield Item("Layout", f"was {gpus}, is {after.layout} on {counted(after.num_gpus, 'GPU')}")
    else:
        yield Item("Layout", f"still {after.layout}")
    if found.old_layout_now is not None:
        new = {row.name: row.after.value for row in found.figures}
        yield Item("The old layout now", _fares(before.layout, found.old_layout_now, new))
        yield Item("Why another", found.verdict)
    yield Item("Inputs", _differing(len(found.inputs)))
    if found.price_changed:
        old = {row.name: row.before.value for row in found.figures}
        said = _fares(before.layout, found.repriced, old, against="as it was planned")
        yield Item("The program", f"prices the old plan differently today: {said}")
    if found.old_inputs_winner is not None:
        yield Item("Under the old inputs", f"the search takes {found.old_inputs_winner} today")


def _differing(rows: int) -> str:
    return f"{counted(rows, 'row')} differ{'s' * (rows == 1)}" if rows else "none differs"


def _fares(
    layout: str, priced: Repriced, beside: dict[str, float], *, against: str = "of the new one"
) -> str:
    """'tp8 is still legal; TPOT 21.3 ms against 18.9 ms of the new one'."""
    if priced.figures is None:
        return f"{layout} cannot be priced: {priced.refused}"
    if priced.obstacles:
        reasons = "; ".join(f"{row.rule}, by {row.excess:,.3g} ({row.unit})" for row in priced.obstacles)
        return f"{layout} cannot run: {reasons}"
    pairs = [
        f"{title} {form(_value(priced.figures, name))} against {form(beside[name])}"
        for name in HEADLINE
        for title, form in (FIGURES[name],)
    ]
    missed = ", ".join(QUANTITIES[name].title for name in priced.missed)
    return f"{layout} is still legal; {', '.join(pairs)} {against}{f'; it misses {missed}' if missed else ''}"


def _value(figures: Figures, name: str) -> float:
    return float(getattr(figures, name).value)


def _inputs(found: Comparison) -> Document:
    rows = [(row.field, row.before, row.after) for row in found.inputs]
    left = len(rows) - MOST_INPUTS
    more = (Paragraph(f"And {counted(left, 'row')} more, in the JSON."),) if left > 0 else ()
    drawn = table(columns("input", "before", "after"), rows[:MOST_INPUTS])
    return (Heading("Inputs that differ"), *drawn, *more) if rows else ()


def _alone(found: Comparison) -> Document:
    if not found.alone:
        return ()
    what = (
        f"One input as it is now, all others as they were: {found.before.layout}, and what the search takes."
    )
    heads = columns(
        "input", *((FIGURES[name][0], "number") for name in HEADLINE), ("the search takes", "name")
    )
    return (Paragraph(what), *table(heads, [_alone_row(row) for row in found.alone]))


def _alone_row(row: Alone) -> tuple[str, ...]:
    priced = row.old_layout
    cells = ["-"] * len(HEADLINE)
    if priced.figures is not None:
        cells = [FIGURES[name][1](_value(priced.figures, name)) for name in HEADLINE]
    if not priced.runs:
        rules = ", ".join(breach.rule for breach in priced.obstacles) or "no such layout"
        cells[0] = f"cannot run: {rules}"
    return (row.field.replace("_", " "), *cells, row.winner or "-")


def _figures(found: Comparison) -> Document:
    rows = []
    for row in found.figures:
        title, form = FIGURES[row.name]
        ratio = row.after.value / row.before.value - 1 if row.before.value else None
        change = "-" if not row.changed else "new" if ratio is None else f"{ratio:+.1%}"
        apart = "" if not row.changed else "overlap" if row.overlap else "apart"
        rows.append((title, with_interval(row.before, form), with_interval(row.after, form), change, apart))
    heads = columns("predicted", ("before", "number"), ("after", "number"), ("change", "number"), "intervals")
    return table(heads, rows)


def _targets(changes: tuple[TargetChange, ...]) -> Document:
    rows = []
    for row in changes:
        quantity = QUANTITIES[row.name]
        sides = ((row.before, row.met_before), (row.after, row.met_after))
        said = [
            "none" if target is None else f"{quantity.target(target)}: {'met' if met else 'missed'}"
            for target, met in sides
        ]
        rows.append((quantity.title, *said))
    drawn = table(columns("target", "before", "after"), rows)
    return (Heading("Targets that differ"), *drawn) if rows else ()


def _memory(found: Comparison) -> Document:
    rows = [(PARTS[row.part], format_bytes(row.before), format_bytes(row.after)) for row in found.memory]
    drawn = table(columns("fullest GPU", ("before", "number"), ("after", "number")), rows)
    return (Heading("Memory that differs"), *drawn) if rows else ()
