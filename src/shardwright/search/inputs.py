"""The inputs of two plans that differ, field by field."""

import json
from collections.abc import Iterator
from typing import Any

from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Plan
from shardwright.record import Record

LABELS = ("name", "assumptions")
"""Of a deployment: they say how it is called and what was filled in, and change no figure."""

WHOLE = {"profile": "device profile", "serving": "serving profile"}
"""Fields of thousands of numbers, told apart by their source."""

SHIPPED = "as shipped"
NONE = "none"
LONGEST = 80
"""Characters of a value that are shown."""


class Change(Record):
    """One input that differs. field: its path in the deployment, or tool, engine version, device profile."""

    field: str
    before: str
    after: str


def differing_inputs(old: Plan, new: Plan) -> tuple[Change, ...]:
    """Every input of the plans that differs, in the order of a deployment; then engine, profiles and tool."""
    then, now = old.deployment, new.deployment
    fields = [name for name in Deployment.model_fields if name not in (*LABELS, *WHOLE)]
    rows = [
        change
        for name in fields
        for change in _differing(name, plain(getattr(then, name)), plain(getattr(now, name)))
    ]
    if old.engine_version != new.engine_version:
        rows.append(Change(field="engine version", before=old.engine_version, after=new.engine_version))
    for name, title in WHOLE.items():
        before, after = getattr(then, name), getattr(now, name)
        if plain(before) != plain(after):
            rows.append(Change(field=title, before=_source(before), after=_source(after)))
        elif name == "profile" and old.profile != new.profile and then.cluster.device == now.cluster.device:
            # For another device another profile is shipped: that follows from the cluster.
            rows.append(Change(field=title, before=old.profile, after=new.profile))
    if old.tool_version != new.tool_version:
        rows.append(Change(field="tool", before=old.tool_version, after=new.tool_version))
    return tuple(rows)


def plain(value: Any) -> Any:
    """As it is written to a file: a record that was used may hold arrays beside its fields."""
    return value.model_dump(mode="json") if isinstance(value, Record) else value


def _differing(path: str, before: Any, after: Any) -> Iterator[Change]:
    """The leaves that differ; a list, or a part that one of them lacks, is one leaf."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from _differing(f"{path}.{key}", before.get(key), after.get(key))
    elif before != after:
        yield Change(field=path, before=_shown(before), after=_shown(after))


def _shown(value: Any) -> str:
    if value is None or value == "":
        return NONE
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.15g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _source(profile: Any) -> str:
    """Where it is from; two of one source and date are told apart by the rows that they were fitted to."""
    if profile is None:
        return SHIPPED
    rows = sum(row.rows for row in getattr(profile, "software", ()))
    return f"{profile.date}, {profile.source}{f', {rows:,} rows' if rows else ''}"
