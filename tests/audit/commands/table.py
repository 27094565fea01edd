"""The published commands of commands.yaml, and how a test audits one."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shardwright.audit.commands.audit import audit_command
from shardwright.audit.commands.findings import findings
from shardwright.audit.commands.record import CommandAudit, CommandFinding
from shardwright.audit.commands.subject import CommandSubject, examine_command
from shardwright.engine.commands.catalog import SERVERS
from shardwright.engine.commands.script import find_invocation

FOLDER = Path(__file__).parent


@cache
def commands() -> dict[str, dict[str, Any]]:
    """Name -> row of commands.yaml."""
    rows: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "commands.yaml").read_text(encoding="utf-8"))
    return rows


def surroundings(row: dict[str, Any]) -> dict[str, Any]:
    """GPU, their number and the model's facts, as the row has them."""
    cluster = {name: row[name] for name in ("gpu", "gpus") if name in row}
    return {"cluster": cluster} | ({"model": row["facts"]} if "facts" in row else {})


def examined(text: str, gpu: str = "H100-SXM-80GB", **more: Any) -> CommandSubject:
    """The subject of one command on `gpu`; more: fields of a deployment, gpus among them."""
    cluster = {"gpu": gpu} | ({"gpus": more.pop("gpus")} if "gpus" in more else {})
    return examine_command(find_invocation(text, SERVERS), {"cluster": cluster, **more})


def found(text: str, gpu: str = "H100-SXM-80GB", **more: Any) -> dict[str, CommandFinding]:
    """The findings of one command by id."""
    return {row.id: row for row in findings(examined(text, gpu, **more))}


def audited(text: str, gpu: str = "H100-SXM-80GB", **more: Any) -> CommandAudit:
    """The whole audit of one command."""
    cluster = {"gpu": gpu} | ({"gpus": more.pop("gpus")} if "gpus" in more else {})
    return audit_command(text, {"cluster": cluster, **more})
