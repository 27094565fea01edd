"""Models known by name: config.json facts with their sources, in catalog.yaml."""

from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shardwright.errors import InputError
from shardwright.model.hf import read_config
from shardwright.model.hub import fetch_model, is_hub_id
from shardwright.model.spec import ModelSpec


def model_names() -> tuple[str, ...]:
    """The hub ids of the catalog, in its order."""
    return tuple(_rows())


def find_model(name: str, *, look_up: bool = False) -> ModelSpec:
    """The model of a hub id, or of its last part in any case: 'qwen3-30b-a3b' is Qwen/Qwen3-30B-A3B.

    A hub id that is not among them is looked up on the hub, where look_up.
    Raises InputError, with the nearest names, when no model or more than one has that name; and all that
    hub.fetch_model raises.
    """
    found = [key for key in _rows() if name == key or name.lower() == key.rpartition("/")[2].lower()]
    if len(found) == 1:
        entry = _entry(_rows()[found[0]])
        return read_config(entry["config"], name=found[0], where=entry["source"])
    if look_up and is_hub_id(name):
        return fetch_model(name, otherwise=_nearest(name))
    raise InputError("model", name, _nearest(name))


def _nearest(name: str) -> str:
    """What to say of a name that is not in the catalog."""
    by_last_part = {key.rpartition("/")[2].lower(): key for key in _rows()}
    wanted = name.rpartition("/")[2].lower()
    longer = [last for last in by_last_part if wanted and last.startswith(wanted)]
    near = dict.fromkeys((*longer, *get_close_matches(wanted, by_last_part, n=3)))
    meant = " or ".join([by_last_part[match] for match in near][:3])
    if near:
        return f"a model of the catalog; is {meant} meant?"
    names = model_names()
    return f"one of the {len(names)} models of the catalog, such as {names[0]} or {names[-1]}"


@cache
def catalog_entries() -> dict[str, dict[str, Any]]:
    """The catalog as it is written: hub id -> source, published, config."""
    return {key: _entry(row) for key, row in _rows().items()}


@cache
def _rows() -> dict[str, yaml.Node]:
    """hub id -> its row, parsed but not built: to build them all takes 10 ms, and most verbs want one."""
    text = (Path(__file__).parent / "catalog.yaml").read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return {key.value: row for key, row in root.value}


def _entry(row: yaml.Node) -> dict[str, Any]:
    entry: dict[str, Any] = yaml.constructor.SafeConstructor().construct_document(row)
    return entry
