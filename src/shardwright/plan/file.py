"""plan.json: written whole or not at all, read back with one clear message when it cannot be."""

import json
import os
import tempfile
from pathlib import Path

from shardwright.errors import InputError
from shardwright.plan.plan import SCHEMA_VERSION, Plan
from shardwright.record import validated

PLAN_FILE = "plan.json"

READABLE, EXECUTABLE = 0o644, 0o755
"""A temporary file is its owner's alone; a plan is for others to read."""


def write_plan(plan: Plan, folder: Path) -> Path:
    """Write `folder`/plan.json, folders made as needed. Raises InputError when that is not possible."""
    return write_text(folder / PLAN_FILE, plan.model_dump_json(indent=2) + "\n")


def write_text(path: Path, text: str) -> Path:
    """`text` to `path`, as `write_bytes` does."""
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes, *, mode: int = READABLE) -> Path:
    """`content` to `path`, folders made as needed: the file appears complete or not at all.

    Raises InputError where that is not possible.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(temporary).chmod(mode)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError("output", str(path), f"a place that can be written ({error.strerror})") from None
    return path


def read_plan(path: Path) -> Plan:
    """The plan in a plan.json, or in a folder that holds one.

    Raises InputError when it is missing, is no JSON, is of another schema version or is incomplete.
    """
    file = path / PLAN_FILE if path.is_dir() else path
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("plan", str(file), f"a readable file ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError("plan", str(file), "a JSON file, as `shardwright plan -o DIR` writes it") from None
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            "schema_version",
            version,
            f"{SCHEMA_VERSION}; make the plan again with this version",
            where=str(file),
        )
    return validated(Plan, values, field="plan", where=str(file))
