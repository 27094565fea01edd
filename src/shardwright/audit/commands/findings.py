"""What is wrong with a command, what it costs, and what is worth knowing: the table of judges."""

from collections.abc import Callable, Iterator

from shardwright.audit.commands.flag_findings import (
    ambiguous,
    beyond_positions,
    contradictions,
    deprecated,
    not_predicted,
    overlap,
    refused,
    unknown_flags,
)
from shardwright.audit.commands.layout_findings import (
    across_nodes,
    dense_model,
    idle_gpus,
    idle_ranks,
    kv_copied,
    memory,
    static_share,
    too_few_gpus,
)
from shardwright.audit.commands.record import CommandFinding, Level
from shardwright.audit.commands.subject import CommandSubject

Judge = Callable[[CommandSubject], Iterator[CommandFinding]]

ALWAYS: tuple[Judge, ...] = (refused, contradictions, ambiguous, unknown_flags, deprecated, beyond_positions)
WITH_LAYOUT: tuple[Judge, ...] = (
    too_few_gpus,
    idle_gpus,
    memory,
    static_share,
    dense_model,
    kv_copied,
    across_nodes,
    idle_ranks,
    overlap,
    not_predicted,
)


def findings(subject: CommandSubject) -> tuple[CommandFinding, ...]:
    """All of them, those that stop the engine first."""
    judges = ALWAYS if subject.layout is None else ALWAYS + WITH_LAYOUT
    found = [finding for judge in judges for finding in judge(subject)]
    order: tuple[Level, ...] = ("stops", "costs", "note")
    return tuple(sorted(found, key=lambda row: order.index(row.level)))
