"""The audit of a command as a document: what it says and makes, what that costs, what would be better."""

from shardwright.audit.commands.record import Change, CommandAudit, CommandFinding
from shardwright.engine.commands.reading import Given, Ignored
from shardwright.report.document import Bullets, Code, Document, Heading, Item, Paragraph, columns, table
from shardwright.report.plan_document import PREDICTED, assumptions, load, where
from shardwright.report.pool_blocks import figures_table, memory_blocks, stages_sentence, targets_table
from shardwright.report.words import counted, verdict_on

LEVELS = {"stops": "Stops it", "costs": "Costs", "note": "Note"}

WHY = {
    "not considered": "not considered: no part of this model of costs",
    "unknown": "no flag of this version",
    "gone": "without effect in this version",
    "no effect": "leaves the default",
}


def command_document(audit: CommandAudit) -> Document:
    """The whole report of `audit`."""
    return (
        *_answer(audit),
        *_flags(audit),
        *_layout(audit),
        *_findings(audit.findings),
        *_memory(audit),
        *_figures(audit),
        *_change(audit.change),
        *assumptions(audit.deployment),
    )


def _answer(audit: CommandAudit) -> Document:
    deployment, gpus = audit.deployment, audit.gpus
    made = f"{audit.layout} on {gpus:,} of {where(deployment)}" if audit.layout and gpus else "no layout"
    stops = [row.id for row in audit.findings if row.level == "stops"]
    outcome = f"does not run ({', '.join(stops)})" if stops else "runs"
    if audit.runs and audit.targets:
        outcome = f"runs, {verdict_on(audit.targets)}"
    return (
        Heading(f"Audit of a command: {audit.engine}", level=1),
        Code(audit.command),
        Paragraph(f"It makes {made}: {outcome}.", status="accepted" if audit.sound else "refused"),
        Bullets((Item("Model", deployment.model.name), Item("Load", load(deployment)))),
        Paragraph(PREDICTED),
    )


def _flags(audit: CommandAudit) -> Document:
    rows = [(row.flag, row.value, row.means, row.where or "command") for row in audit.given]
    why: dict[str, list[Ignored]] = {}
    for row in audit.ignored:
        why.setdefault(row.why, []).append(row)
    rest = tuple(Item(WHY[reason].capitalize(), ", ".join(map(_word, rows))) for reason, rows in why.items())
    sources = tuple(Item(row.flag, row.source) for row in _distinct(audit.given))
    return (
        Heading("The Command as Understood"),
        *table(columns("flag", "value", "sets", "from"), rows),
        *((Bullets(rest),) if rest else ()),
        Heading("Sources of the flags", level=3, only="markdown"),
        Bullets(sources, only="markdown"),
    )


def _distinct(rows: tuple[Given, ...]) -> tuple[Given, ...]:
    return tuple({row.flag: row for row in rows if row.source}.values())


def _word(row: Ignored) -> str:
    return " ".join(part for part in (row.flag, row.value) if part)


def _layout(audit: CommandAudit) -> Document:
    verdict, pool = audit.verdict, audit.pool
    nearest: Document = ()
    if verdict.nearest:
        nearest = (Paragraph(f"Nearest legal: {verdict.nearest}, by {verdict.nearest_arguments}."),)
    stages = (Paragraph(f"{pool.layout}: {stages_sentence(pool)}."),) if pool else ()
    return (
        Heading("The Layout It Makes"),
        Paragraph(f"{verdict.sentence} (rule {verdict.rule}; {verdict.source})."),
        *nearest,
        *stages,
    )


def _findings(found: tuple[CommandFinding, ...]) -> Document:
    items = tuple(Item(f"{LEVELS[row.level]}, {row.id}", _said(row)) for row in found)
    nothing = Paragraph("Nothing was found against it.")
    return (Heading("Findings"), Bullets(items) if items else nothing)


def _said(row: CommandFinding) -> str:
    cure = f" Cure: {row.cure}." if row.cure else ""
    source = f" Source: {row.source}." if row.source else ""
    return f"{row.sentence}.{cure}{source}"


def _memory(audit: CommandAudit) -> Document:
    pool, room = audit.pool, audit.capacity
    if pool is None or room is None:
        return ()
    length = audit.deployment.workload.max_model_len
    held = (
        f"In all {room.tokens:,} tokens of KV: {room.requests:,.1f} requests of {length:,} tokens at once. "
        f"Of this load {counted(room.batch, 'sequence')} fit; the longest request that fits has "
        f"{counted(room.max_model_len, 'token')}."
        if room.weights_fit
        else "The weights do not fit, so there is no KV cache."
    )
    return (Heading("Memory"), *memory_blocks(audit.deployment, pool), Paragraph(held))


def _figures(audit: CommandAudit) -> Document:
    if audit.pool is None:
        return ()
    targets = targets_table(audit.targets, audit.pool) if audit.targets else ()
    return (Heading("Predicted Figures"), *figures_table(audit.pool), *targets)


def _change(change: Change | None) -> Document:
    if change is None:
        return ()
    rows = [(row.flag, row.now or "not given", row.then or "left out") for row in change.flags]
    times = f"Start it {counted(change.num_commands, 'time')}, each on GPUs and a port of its own."
    command = (Code(change.command), *((Paragraph(times),) if change.num_commands > 1 else ()))
    return (
        Heading("The Change of Flags That Pays Most"),
        Paragraph(change.sentence),
        *table(columns(("flag", "name"), "now", "then"), rows),
        *(command if rows else ()),
    )
