"""Every fact of an engine says where it stands, in the version that the engine is of."""

import re
from collections.abc import Iterator
from dataclasses import fields
from importlib.resources import files
from typing import Any

import pytest
import yaml

from shardwright.engine.catalog import VERSIONS
from shardwright.engine.commands.catalog import SERVERS
from shardwright.engine.engine import Engine

PROGRAMS = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "trtllm": "TensorRT-LLM",
    "megatron": "Megatron-Core",
    "shardwright": "Shardwright",
}
PUBLISHED = re.compile(r"[\w-]+, arXiv \d{4}\.\d{5}|DeepSpeed, deepspeed/utils/groups\.py, ")
"""What the classic scheme is of: papers, and the one file that they all mean. It has no version."""

ASSUMED = {("megatron", "memory"), ("gshard", "memory"), ("gshard", "flags"), ("shardwright", "memory")}
"""Entries that no source states, and that say so."""


def entries(engine: Engine) -> Iterator[tuple[str, str]]:
    """What is stated, and its source. The limits of a step are part of the memory rule."""
    yield from ((rule.id, rule.source) for rule in engine.rules if rule.source != "cluster")
    yield from ((field.name, getattr(engine.sources, field.name)) for field in fields(engine.sources))
    yield "memory", engine.memory.source
    if engine.overlap:
        yield "overlap", engine.overlap.source


def is_of(engine: Engine, what: str, source: str) -> bool:
    if (engine.id, what) in ASSUMED:
        return source.startswith("assumption: ")
    if engine.name == "gshard":
        return PUBLISHED.match(source) is not None
    return re.match(re.escape(f"{PROGRAMS[engine.name]} {engine.version}, ") + r"\S", source) is not None


@pytest.mark.parametrize("engine", VERSIONS, ids=lambda engine: engine.id)
def test_every_entry_has_a_source_of_the_engines_version(engine: Engine) -> None:
    found = list(entries(engine))
    assert len(found) > len(engine.rules)
    assert [(what, source) for what, source in found if not is_of(engine, what, source)] == []


def test_only_the_size_of_the_cluster_is_no_fact_of_an_engine() -> None:
    for engine in VERSIONS:
        assert [rule.id for rule in engine.rules if rule.source == "cluster"] == ["gpus"]


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.engine)
def test_every_flag_has_a_source_of_the_servers_version(server: Any) -> None:
    of = f"{PROGRAMS[server.engine]} {server.dialect.version}, "
    assert [flag.names for flag in server.flags if not flag.source.startswith(of)] == []
    text = files("shardwright.engine.commands").joinpath("flags.yaml").read_text(encoding="utf-8")
    row = yaml.safe_load(text)[server.engine]
    assert row["version"] == server.dialect.version and row["source"] and row["date"]
