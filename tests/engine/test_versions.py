"""Versions of an engine: which one a name means, and what differs between two."""

from dataclasses import replace

import pytest

from shardwright.engine.catalog import find_engine
from shardwright.engine.engine import MemoryRule
from shardwright.engine.vllm import VLLM_0_33
from shardwright.engine.vllm_0_32 import PLACES, VLLM_0_32
from shardwright.errors import InputError
from shardwright.layout.stated import parse_stated
from shardwright.plan.deployment import resolve
from shardwright.search.engine import engine_of
from shardwright.units import GIB
from tests.engine.engine_strategies import DENSE, REFERENCE, device

GIVEN = {"model": "Qwen3-30B-A3B", "cluster": {"gpu": "H100-SXM-80GB", "nodes": 1}}


@pytest.mark.parametrize("name", ["vllm", "vllm@0.33", "vllm-0.33", "vllm@0.33.0", "vllm@0"])
def test_the_newest_version(name: str) -> None:
    assert find_engine(name) is VLLM_0_33


@pytest.mark.parametrize("name", ["vllm@0.32", "vllm-0.32", "vllm@0.32.0"])
def test_an_older_version(name: str) -> None:
    assert find_engine(name) is VLLM_0_32
    given = resolve({**GIVEN, "engine": name})
    assert engine_of(given).version == "0.32.0"


@pytest.mark.parametrize("name", ["vllm@0.3", "vllm@0.9", "vllm-", "vllm@0.32.0.1", "vllm@0.33@0"])
def test_an_unknown_version_names_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=r"one of vllm@0\.33\.0, vllm@0\.32\.0$"):
        find_engine(name)


def test_a_deployment_may_name_any_engine_too() -> None:
    with pytest.raises(InputError, match=r"one of vllm, .*, shardwright, any$"):
        resolve({**GIVEN, "engine": "tgi"})


def test_0_32_is_0_33_but_for_places_and_the_limits_of_a_gb10() -> None:
    """vLLM 0.33.0, engine/arg_utils.py:2961-2987: is_gb10; 0.32.0, 2918-2945, knows no such device."""
    older, newer = VLLM_0_32.memory, VLLM_0_33.memory

    def limits(rule: MemoryRule, name: str, gibibytes: int) -> tuple[int, int]:
        row = rule.limits_on(device(name, gibibytes * GIB))
        return row.max_batched_tokens, row.max_sequences

    for name, gibibytes in (("B200", 180), ("H100", 79), ("A100", 79), ("L40S", 44)):
        assert limits(older, name, gibibytes) == limits(newer, name, gibibytes)
    assert (limits(older, "GB10", 119), limits(newer, "GB10", 119)) == ((8192, 1024), (2048, 256))
    assert replace(older, limits=newer.limits, source=newer.source) == newer
    assert [replace(rule, source="") for rule in VLLM_0_32.rules] == [
        replace(rule, source="") for rule in VLLM_0_33.rules
    ]
    assert {rule.id for rule in VLLM_0_32.rules} == {*PLACES, "gpus"}


@pytest.mark.parametrize("text", ["TP2-EP4-PP2-DP2", "TP4", "TP3", "TP2-EP2-DP2", "DP64-EP64"])
@pytest.mark.parametrize("model", [REFERENCE, DENSE], ids=lambda model: model.name)
def test_both_say_the_same_of_a_strategy_each_by_its_own_lines(text: str, model) -> None:
    older, newer = (engine.read(parse_stated(text), model) for engine in (VLLM_0_32, VLLM_0_33))
    own = {"engine": newer.engine, "version": newer.version, "source": newer.source}
    assert older.model_copy(update=own) == newer
    assert (older.engine, older.version) == ("vllm@0.32", "0.32.0")
    assert older.source.startswith("vLLM 0.32.0, ") and newer.source.startswith("vLLM 0.33.0, ")
