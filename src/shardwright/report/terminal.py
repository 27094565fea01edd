"""A report on a terminal, drawn with rich: no colour where it is piped, no markup from user text."""

from typing import TYPE_CHECKING, Literal

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from shardwright.plan.plan import Plan
from shardwright.report.document import (
    Bullets,
    Code,
    Column,
    Document,
    Heading,
    Item,
    Paragraph,
    Table,
    drawn_by,
    printable,
)
from shardwright.report.plan_document import plan_document

if TYPE_CHECKING:
    from shardwright.audit.commands.record import CommandAudit
    from shardwright.audit.record import Audit
    from shardwright.calibrate.calibration import Calibration
    from shardwright.calibrate.measured.own import OwnCalibration
    from shardwright.calibrate.measured.validation import Validation
    from shardwright.launch.check import Check
    from shardwright.launch.compare import Bench
    from shardwright.launch.inspect.inspection import Inspection
    from shardwright.launch.launch import Launch
    from shardwright.plan.generation import Generation
    from shardwright.plan.proof import Proof
    from shardwright.search.comparison import ComparedPlan
    from shardwright.search.explain import Explanation
    from shardwright.serving.simulation import Simulation

STYLES = {
    "met": "green",
    "met, uncertain": "yellow",
    "missed": "bold red",
    "as planned": "green",
    "DIFFERS": "bold red",
    "accepted": "green",
    "refused": "red",
    "ready": "bold green",
    "ready with conditions": "bold yellow",
    "not ready": "bold red",
    "uneven": "yellow",
    "agrees": "green",
    "differs": "bold red",
    "other load": "yellow",
}
"""The word of a status -> its colour; any other word has none."""

GAPS = (2, 1)
"""Cells between two columns: the first with which a table fits the console."""


def print_plan(plan: Plan, console: Console) -> None:
    """The plan, as wide as the console."""
    print_document(plan_document(plan), console)


def print_compared(both: "ComparedPlan", console: Console) -> None:
    """The plan, and behind it what changed since an old one, as wide as the console."""
    from shardwright.report.comparison_document import comparison_document  # noqa: PLC0415

    print_document((*plan_document(both.plan), *comparison_document(both.comparison)), console)


def print_audit(audit: "Audit", console: Console) -> None:
    """The audit, as wide as the console; what is marked as detail is left to the markdown."""
    # Imported here so that a verb pays for its own report only: 30 ms of `shardwright plan`.
    from shardwright.report.audit_document import audit_document  # noqa: PLC0415

    print_document(audit_document(audit), console)


def print_command_audit(audit: "CommandAudit", console: Console) -> None:
    """The audit of a command, as wide as the console."""
    from shardwright.report.command_document import command_document  # noqa: PLC0415

    print_document(command_document(audit), console)


def print_explanation(found: "Explanation", console: Console) -> None:
    """The explanation, as wide as the console."""
    from shardwright.report.explain_document import explain_document  # noqa: PLC0415

    print_document(explain_document(found), console)


def print_inspection(found: "Inspection", console: Console) -> None:
    """What a running server says, as wide as the console."""
    from shardwright.report.inspection_document import inspection_document  # noqa: PLC0415

    print_document(inspection_document(found), console)


def print_proof(proof: "Proof", console: Console) -> None:
    """The proof, as wide as the console."""
    from shardwright.report.proof_document import proof_document  # noqa: PLC0415

    print_document(proof_document(proof), console)


def print_launch(launch: "Launch", console: Console) -> None:
    """What starts a plan, as wide as the console."""
    from shardwright.report.launch_document import launch_document  # noqa: PLC0415

    print_document(launch_document(launch), console)


def print_check(check: "Check", console: Console) -> None:
    """What an engine realised beside its plan, as wide as the console."""
    from shardwright.report.check_document import check_document  # noqa: PLC0415

    print_document(check_document(check), console)


def print_bench(bench: "Bench", console: Console) -> None:
    """What was measured, beside what was predicted, as wide as the console."""
    from shardwright.report.bench_document import bench_document  # noqa: PLC0415

    print_document(bench_document(bench), console)


def print_generation(found: "Generation", console: Console) -> None:
    """What a layout generated, as wide as the console."""
    from shardwright.report.generation_document import generation_document  # noqa: PLC0415

    print_document(generation_document(found), console)


def print_calibration(found: "Calibration", console: Console) -> None:
    """Every law with its errors, as wide as the console."""
    from shardwright.report.calibration_document import calibration_document  # noqa: PLC0415

    print_document(calibration_document(found), console)


def print_own_serving(found: "OwnCalibration", console: Console) -> None:
    """How near rows of one's own are, before and after, as wide as the console."""
    from shardwright.report.own_serving_document import own_serving_document  # noqa: PLC0415

    print_document(own_serving_document(found), console)


def print_simulation(found: "Simulation", console: Console) -> None:
    """What clients see of a simulated load, as wide as the console."""
    from shardwright.report.simulation_document import simulation_document  # noqa: PLC0415

    print_document(simulation_document(found), console)


def print_validation(found: "Validation", console: Console) -> None:
    """Predicted beside measured, as wide as the console."""
    from shardwright.report.validation_document import validation_document  # noqa: PLC0415

    print_document(validation_document(found), console)


def print_document(document: Document, console: Console) -> None:
    """Every block that is no detail, headings set off by an empty line."""
    for block in drawn_by(document, "terminal"):
        if isinstance(block, Heading) and block.level == 2:
            console.print()
        console.print(_drawn(block, console), highlight=False, soft_wrap=isinstance(block, Code))


def _drawn(block: Heading | Paragraph | Table | Bullets | Code, console: Console) -> RenderableType:
    match block:
        case Heading():
            return Text(printable(block.text), style="bold underline" if block.level == 1 else "bold")
        case Paragraph():
            return _wrapped(Text(printable(block.text), style=STYLES.get(block.status, "")), console)
        case Bullets():
            return Text("\n").join(_bullet(item, console) for item in block.items)
        case Code():
            return Text("\n".join(map(printable, block.text.splitlines())), style="cyan")
        case Table():
            gap = next((gap for gap in GAPS if _least_width(block, gap) <= console.width), None)
            if gap is None:
                return Text("\n").join(_stacked(row, block, console) for row in block.rows)
            return _table(block, gap, console.width)


def _bullet(item: str | Item, console: Console) -> Text:
    if isinstance(item, str):
        return _wrapped(Text(printable(item)), console, mark="- ")
    label = Text(f"{printable(item.label)}: ", style="bold")
    return _wrapped(Text.assemble(label, printable(item.text)), console, mark="- ")


def _wrapped(text: Text, console: Console, mark: str = "") -> Text:
    """`text` on lines of the console's width, those after the first under the first."""
    lines = text.wrap(console, max(1, console.width - len(mark)))
    for line in lines:
        line.rstrip()
    indents = [mark, *[" " * len(mark)] * (len(lines) - 1)]
    return Text("\n").join(Text.assemble(*pair) for pair in zip(indents, lines, strict=True))


def _table(block: Table, gap: int, width: int) -> RenderableType:
    drawn = RichTable(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
    room = width - gap * (len(block.columns) - 1)
    for column, cells in zip(block.columns, _widths(block, room), strict=True):
        justify: Literal["left", "right"] = "right" if column.kind == "number" else "left"
        drawn.add_column(Text(column.title), width=cells, justify=justify, overflow="fold")
    for row in block.rows:
        drawn.add_row(*(_cell(text, column) for text, column in zip(row, block.columns, strict=True)))
    return drawn


def _stacked(row: tuple[str, ...], block: Table, console: Console) -> Text:
    """A row of a table too wide for the console: a bullet, the first cell first."""
    cells = zip(block.columns[1:], row[1:], strict=True)
    return _bullet(
        Item(row[0], "; ".join(f"{column.title} {text}" for column, text in cells if text)), console
    )


def _cell(text: str, column: Column) -> Text:
    return Text(printable(text), style=STYLES.get(text, "") if column.kind == "status" else "")


def _whole(column: Column) -> bool:
    """Whether its cells are never broken."""
    return column.kind != "text"


def _least_width(block: Table, gap: int) -> int:
    return sum(_least(block)) + gap * (len(block.columns) - 1)


def _least(block: Table) -> list[int]:
    """Cells that each column needs: whole texts where they are not broken, else the longest word."""
    widths = []
    for index, column in enumerate(block.columns):
        cells = [row[index] for row in block.rows]
        words = " ".join(cells).split() if not _whole(column) else cells
        widths.append(max(map(cell_len, (*words, *column.title.split())), default=0))
    return widths


def _widths(block: Table, room: int) -> list[int]:
    """The cells of each column: as many as its texts take, the widest narrowed until all fit `room`."""
    least = _least(block)
    widths = [
        max(map(cell_len, (column.title, *(row[index] for row in block.rows))))
        for index, column in enumerate(block.columns)
    ]
    while sum(widths) > room:
        widest = max((i for i in range(len(widths)) if widths[i] > least[i]), key=lambda i: widths[i])
        widths[widest] -= 1
    return widths
