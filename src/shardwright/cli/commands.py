"""A command under audit on the command line: where it stands, and the deployment around it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shardwright.audit.commands.audit import audit_command
from shardwright.audit.commands.record import CommandAudit
from shardwright.cli.inputs import TARGET_OPTIONS, WORKLOAD_OPTIONS
from shardwright.engine.commands.script import MAX_CHARACTERS
from shardwright.errors import InputError
from shardwright.plan.deployment import stated_profile
from shardwright.plan.yamlfile import YamlFile

DEPLOYMENT_FILES = (".yaml", ".yml", ".json")


def command_in(argument: str) -> tuple[str, Path] | None:
    """(the text with a command, the folder of its files); None where the argument is a deployment.

    A file is a deployment by its ending, else a text; what is no file and has blanks is the command itself.
    Raises InputError for a file that cannot be read.
    """
    path = Path(argument)
    try:
        is_there = "\0" not in argument and path.exists()
    except OSError:  # longer than any name of a file
        is_there = False
    if not is_there:
        return (argument, Path()) if len(argument.split()) > 1 else None
    if path.is_dir() or path.suffix.lower() in DEPLOYMENT_FILES:
        return None
    try:
        with path.open(encoding="utf-8") as stream:
            return stream.read(MAX_CHARACTERS + 1), path.parent
    except (OSError, ValueError) as error:
        raise InputError("command", argument, f"a readable text file ({error})") from None


def audit_of_command(
    text: str, folder: Path, beside: Path | None, options: Mapping[str, Any]
) -> CommandAudit:
    """The audit of the command in `text`, in the deployment of the file `beside`, options before the file's.

    Raises InputError.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("layout", "engine"):
        if name in given:
            raise InputError(f"--{name}", given[name], "nothing beside a command, which says that itself")
    if "hosts" in given:
        raise InputError("--hosts", given["hosts"], "--gpus and --gpus-per-node beside a command")
    file = YamlFile(beside) if beside is not None else None
    try:
        surroundings = _surroundings(file.values if file else {}, given)
        return audit_command(text, surroundings, folder=folder, beside=beside.parent if beside else Path())
    except InputError as error:
        place = error.where or (file.where(error.field) if file and _in_file(error.field, file) else "")
        raise InputError(error.field, error.value, error.allowed, where=place) from None


def _surroundings(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a deployment file with the options over them, a profile of theirs as read."""
    found = dict(values)
    cluster = {name: given[name] for name in ("gpu", "gpus", "gpus_per_node") if name in given}
    for name in ("gpus", "gpus_per_node"):
        if given.get(name, 1) < 1:
            raise InputError(f"--{name.replace('_', '-')}", given[name], "a whole number from 1")
    if cluster:
        old = found.get("cluster")
        kept = {k: v for k, v in old.items() if k != "nodes"} if isinstance(old, dict) else {}
        found["cluster"] = kept | cluster
    elif isinstance(found.get("cluster"), dict):
        found["cluster"] = {"nodes": 1, **found["cluster"]}
    for section, options in (("workload", WORKLOAD_OPTIONS), ("targets", TARGET_OPTIONS)):
        own = {name: given[name] for flag, *_ in options if (name := flag[2:].replace("-", "_")) in given}
        before = found.get(section) or {}
        if not isinstance(before, dict):
            raise InputError(section, before, "fields and values")
        found[section] = before | own
    for name in ("model", "objective"):
        if name in given:
            found[name] = given[name]
    if "profile" in given:
        found["profile"] = stated_profile(given["profile"])
    if "reserve" in given:
        found["reserve"] = {"gpus": given["reserve"]}
    return found


def _in_file(field: str, file: YamlFile) -> bool:
    return field.split(".", maxsplit=1)[0] in file.values
