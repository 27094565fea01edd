"""The audit of a command: read, made into a layout, priced, and held against the best one."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shardwright import __version__
from shardwright.audit.commands.change import best_change
from shardwright.audit.commands.findings import findings
from shardwright.audit.commands.record import Change, CommandAudit
from shardwright.audit.commands.subject import examine_command
from shardwright.engine.catalog import ENGINES
from shardwright.engine.commands.catalog import SERVERS
from shardwright.engine.commands.script import find_invocation
from shardwright.layout.notation import format_layout
from shardwright.search.pool import check_targets


def audit_command(
    text: str, surroundings: Mapping[str, Any], *, folder: Path = Path(), beside: Path = Path()
) -> CommandAudit:
    """The audit of the first engine command in `text`: a line, a script, a docker run. Nothing is executed.

    surroundings: as for examine_command; folder: where the command's own files are; beside: where a model
    folder of the surroundings is looked for. Raises InputError.
    """
    invocation = find_invocation(text, SERVERS, folder)
    subject = examine_command(invocation, surroundings, folder=beside)
    found = findings(subject)
    runs = all(row.level != "stops" for row in found)
    layout, deployment = subject.layout, subject.deployment
    pool = subject.pool if layout else None
    change = best_change(subject, runs=runs)
    notes = () if isinstance(change, Change) else (f"No better layout was found: {change}",)
    engine = ENGINES[subject.server.engine]
    return CommandAudit(
        tool_version=__version__,
        engine=f"{engine.title} {engine.version}",
        command=shlex.join((*invocation.entry, *invocation.words)),
        given=subject.arguments.given,
        ignored=subject.arguments.ignored,
        verdict=subject.verdict,
        deployment=deployment.model_copy(update={"assumptions": (*deployment.assumptions, *notes)}),
        layout=format_layout(layout) if layout else None,
        gpus=layout.num_gpus if layout else None,
        findings=found,
        pool=pool,
        capacity=subject.capacity if layout else None,
        targets=check_targets(deployment.targets, pool.figures) if pool else (),
        change=change if isinstance(change, Change) else None,
        runs=runs,
    )
