"""A report as GitHub markdown (https://github.github.com/gfm/): text from the user stays text."""

import re

from shardwright.audit.commands.record import CommandAudit
from shardwright.audit.record import Audit
from shardwright.plan.plan import Plan
from shardwright.report.audit_document import audit_document
from shardwright.report.command_document import command_document
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

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
"""What starts markup anywhere; an underscore inside a word does not (GFM 6.2)."""

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

_LINE_START = re.compile(r"^([-+#=]|\d+(?=[.)](\s|$)))")
"""What would start a list, a heading or a rule."""

_RULES = {"text": "---", "name": "---", "number": "---:", "status": "---"}


def plan_markdown(plan: Plan) -> str:
    """The plan as a document."""
    return render(plan_document(plan))


def audit_markdown(audit: Audit) -> str:
    """The audit as a document, with all its detail."""
    return render(audit_document(audit))


def command_markdown(audit: CommandAudit) -> str:
    """The audit of a command as a document, with all its detail."""
    return render(command_document(audit))


def render(document: Document) -> str:
    """Every block, one empty line between two."""
    return "\n\n".join(map(_drawn, drawn_by(document, "markdown"))) + "\n"


def escape(text: str, *, starts_line: bool = False) -> str:
    """`text` so that GitHub shows just that, on one line.

    >>> escape("a | b <i> max_model_len *x*")
    'a \\\\| b &lt;i&gt; max_model_len \\\\*x\\\\*'
    """
    flat = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], " ".join(printable(text).split()))
    marked = _SPECIAL.sub(lambda found: f"\\{found[0]}", flat)
    if not starts_line:
        return marked
    return _LINE_START.sub(lambda found: f"{found[1]}\\" if found[1].isdigit() else f"\\{found[1]}", marked)


def code_span(text: str) -> str:
    """`text` as inline code, with a fence longer than any in it (GFM 6.1); '' stays ''."""
    flat = " ".join(printable(text).split())
    if not flat:
        return ""
    fence = "`" * (_longest_run(flat) + 1)
    return f"{fence}{flat}{fence}" if "`" not in flat else f"{fence} {flat} {fence}"


def _drawn(block: Heading | Paragraph | Table | Bullets | Code) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {escape(block.text)}"
        case Paragraph():
            return f"**{escape(block.text)}**" if block.status else escape(block.text, starts_line=True)
        case Bullets():
            return "\n".join(f"- {_item(item)}" for item in block.items)
        case Code():
            fence = "`" * max(3, _longest_run(block.text) + 1)
            lines = "\n".join(map(printable, block.text.splitlines()))
            return f"{fence}{block.language}\n{lines}\n{fence}"
        case Table():
            return _table(block)


def _item(item: str | Item) -> str:
    return (
        f"**{escape(item.label)}**: {escape(item.text)}"
        if isinstance(item, Item)
        else escape(item, starts_line=True)
    )


def _table(block: Table) -> str:
    head = [escape(column.title) for column in block.columns]
    rule = [_RULES[column.kind] for column in block.columns]
    rows = [
        [_cell(text, column) for text, column in zip(row, block.columns, strict=True)] for row in block.rows
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))


def _cell(text: str, column: Column) -> str:
    if column.kind == "name":
        return code_span(text).replace("|", "\\|")
    return escape(text)


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
