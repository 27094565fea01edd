"""Rules broken on purpose: each mutant must turn a named test red."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from shardwright.cost import memory, price, step
from shardwright.engine.commands import sglang as sglang_commands
from shardwright.engine.commands import vllm as vllm_commands
from shardwright.layout import readings
from shardwright.model.spec import ModelSpec
from shardwright.search import engine as search_engine
from shardwright.steps import attention, load
from tests.audit.commands import test_findings
from tests.cost import test_memory, test_price
from tests.layout import test_readings
from tests.steps import test_program


def kv_divided_by_tp_without_end(spec: Any, tp: Any) -> Any:
    heads = getattr(spec.attention, "num_kv_heads", 1)
    width = 2 * getattr(spec.attention, "head_dim", 0) or spec.attention.kv_lora_rank
    return heads / tp * width * spec.kv_bytes


def experts_not_divided(num_experts: Any, redundant: Any, ep: Any) -> Any:
    return num_experts + redundant


def one_micro_batch_whatever_is_in_flight(*args: Any) -> Any:
    return REAL_STEP(*args[:4], 1, *args[5:])


def no_hottest_rank(*args: Any) -> float:
    return 0.5


REAL_STEP = step.step_cost

MUTANTS: dict[str, tuple[Any, str, Any, Callable[[], None]]] = {
    "KV heads divided beyond their number": (
        memory,
        "kv_bytes_per_token_per_layer_per_rank",
        kv_divided_by_tp_without_end,
        test_memory.test_kv_rules,
    ),
    "experts not divided by EP": (
        memory,
        "max_slots",
        experts_not_divided,
        test_memory.test_reference_by_hand,
    ),
    "decode with PP prices one micro-batch": (
        price,
        "step_cost",
        one_micro_batch_whatever_is_in_flight,
        test_price.test_two_stages_with_one_micro_batch_idle_half,
    ),
    "a reading is missing": (
        readings,
        "READINGS",
        tuple(rule for rule in readings.READINGS if rule.id != "per_stage"),
        test_readings.test_the_reference_strategy_has_exactly_six_readings,
    ),
    "a reading counts wrongly": (
        readings,
        "READINGS",
        tuple(
            replace(rule, build=lambda d: {"dp": d.ep, "ep": d.ep}) if rule.id == "product" else rule
            for rule in readings.READINGS
        ),
        test_readings.test_the_reference_strategy_has_exactly_six_readings,
    ),
    "hottest rank below the mean": (
        load,
        "hottest_rank_factor",
        no_hottest_rank,
        test_price.test_loads_count_the_tokens_of_all_dp_ranks,
    ),
    "activations of one byte": (
        ModelSpec,
        "activation_bytes",
        1.0,
        test_program.test_gathering_exchange_moves_all_tokens_and_no_top_k,
    ),
    "settings of a command not heard": (
        search_engine,
        "tuned",
        lambda engine, tuning: engine,
        test_findings.test_memory_follows_the_flags,
    ),
    "attention DP of a command taken for copies": (
        sglang_commands,
        "_degrees",
        lambda settings: (1, settings.get("attn_dp", 1)),
        test_findings.test_mla_is_not_divided_by_tp,
    ),
    "DP of a command counted twice": (
        vllm_commands,
        "degree",
        lambda settings, name, default=1: settings.get(name, default) ** (2 if name == "dp" else 1),
        test_findings.test_dp_is_counted_once,
    ),
    "no all-reduce after attention": (
        attention,
        "hidden_sum",
        lambda *given: iter(()),
        test_program.test_communication_of_the_reference_layout_by_hand,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, attribute, mutant, proof = MUTANTS[name]
    proof()
    monkeypatch.setattr(module, attribute, mutant)
    with pytest.raises((AssertionError, KeyError, StopIteration, ValueError)):
        proof()
