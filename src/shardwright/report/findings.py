"""What the audit found: balance, modules, and every statement contradicted, undecided or confirmed."""

from shardwright.audit.record import Audit, Finding, Status
from shardwright.report.document import (
    Bullets,
    Document,
    Heading,
    Item,
    Paragraph,
    columns,
    in_brief,
    in_detail,
    table,
)
from shardwright.report.performance import SHOWN_HERE
from shardwright.report.strategy import nothing_priced
from shardwright.report.words import counted

BALANCE = {
    "Expert": ("experts", "hottest_rank"),
    "Layer": ("layers", "expert_layers"),
    "Batch": ("sequences",),
    "Memory": ("memory", "map_memory"),
}
"""What is shared out -> the quantities that say how evenly."""


def balance(audit: Audit) -> Document:
    """One row a quantity; in detail how each was counted."""
    if not audit.balance:
        return (Heading("Load Balancing Analysis"), nothing_priced())
    rows = [
        (
            row.title,
            f"{row.largest:,.4g} {row.unit}",
            f"{row.mean:,.4g} {row.unit}",
            f"{row.ratio:.2f}",
            "balanced" if row.balanced else "uneven",
        )
        for row in audit.balance
    ]
    heads = columns("quantity", "largest", "mean", ("ratio", "number"), ("spread", "status"))
    sections: Document = ()
    for title, ids in BALANCE.items():
        how = tuple(Item(row.title, row.sentence) for row in audit.balance if row.id in ids)
        if how:
            sections += (Heading(f"{title} Load Balancing", level=3), Bullets(how))
    return (Heading("Load Balancing Analysis"), *table(heads, rows), *in_detail(sections))


def modules(audit: Audit) -> Document:
    """The parts of one copy of the model, and the GPUs that hold them."""
    if not audit.modules:
        return in_detail((Heading("Module Division Validation"), nothing_priced()))
    whole = sum(row.modules for row in audit.modules)
    ranks = {rank for row in audit.modules for rank in row.ranks}
    claims = tuple(f"{row.claim}: {row.status}" for row in audit.findings if row.id == "modules")
    return in_detail(
        (
            Heading("Module Division Validation"),
            Heading("Total Module Count", level=3),
            Bullets((f"{counted(whole, 'module')} of one copy on {counted(len(ranks), 'GPU')}", *claims)),
            Heading("Module Breakdown", level=3),
            *table(
                columns("module", ("count", "number")),
                [(row.title, f"{row.modules}") for row in audit.modules],
            ),
        )
    )


def issues(audit: Audit) -> Document:
    """Contradicted first, then what the inputs cannot decide, then what is right."""
    found = {status: _with(audit, status) for status in ("contradicted", "unsupported", "confirmed")}
    if not audit.findings:
        return (
            Heading("Critical Issues"),
            Paragraph("The document states nothing that could be held against it."),
        )
    sizes = ", ".join(f"{len(rows)} {status}" for status, rows in found.items())
    return (
        Heading("Critical Issues"),
        Paragraph(f"Statements held against the inputs and against each other: {sizes}."),
        *_told("Contradicted", found["contradicted"]),
        *_told("Unsupported", found["unsupported"]),
        *_confirmed(found["confirmed"]),
    )


def _with(audit: Audit, status: Status) -> list[Finding]:
    return [row for row in audit.findings if row.status == status]


def _told(title: str, rows: list[Finding]) -> Document:
    """A sentence for each that capacity or speed rests on, the others as a list; in detail all of all."""
    if not rows:
        return ()
    grave = tuple(Item(row.title, row.sentence) for row in rows if row.decisive)
    minor = [row for row in rows if not row.decisive]
    brief = Paragraph("; ".join(f"{row.title}: {row.claim}, against {row.truth}" for row in minor) + ".")
    sentences = tuple(Item(row.title, row.sentence) for row in minor)
    return (
        Heading(title, level=3),
        *((Bullets(grave),) if grave else ()),
        *in_brief((brief,) if minor else ()),
        *in_detail((Bullets(sentences),) if sentences else ()),
        *_arithmetic(rows),
    )


def _confirmed(rows: list[Finding]) -> Document:
    if not rows:
        return ()
    brief = "; ".join(f"{row.title}: {row.claim}" for row in rows)
    return (Heading("Confirmed", level=3), Paragraph(f"{brief}."), *_arithmetic(rows))


def _arithmetic(rows: list[Finding]) -> Document:
    """The steps of each, where the performance sections do not have them."""
    steps = [
        Item(row.title, "; ".join(row.arithmetic))
        for row in rows
        if row.arithmetic and row.id not in SHOWN_HERE
    ]
    return in_detail((Paragraph("The arithmetic:"), Bullets(tuple(steps)))) if steps else ()
