"""What each engine says to a strategy string taken literally."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.engine.catalog import ENGINES, find_engine
from shardwright.engine.engine import broken
from shardwright.errors import InputError
from shardwright.layout.notation import parse_layout
from shardwright.layout.stated import Stated, parse_stated
from tests.engine.engine_strategies import DENSE, LATENT, MODELS, REFERENCE

SMALL, LARGE = "TP2-EP4-PP2-DP2", "EP64-TP8-PP2-DP2"


def verdict(engine, text, model=REFERENCE):
    return find_engine(engine).read(parse_stated(text), model)


def test_vllm_accepts_the_reference_strategy_on_8_gpus():
    found = verdict("vllm", SMALL)
    assert found.accepted
    assert found.arguments == "-tp 2 -pp 2 -dp 2 --enable-expert-parallel"
    assert (found.gpus, found.layout, found.nearest) == (8, "tp2.dp2.pp2/ep4", None)
    assert "TP x DP = 2 x 2 = 4" in found.sentence
    assert found.version == "0.33.0"


class Refusal(NamedTuple):
    engine: str
    text: str
    rule: str
    arguments: str
    said: str
    nearest: str
    nearest_arguments: str


REFUSALS = [
    Refusal(
        "sglang",
        SMALL,
        "moe-grid",
        "--tp-size 2 --ep-size 4 --pp-size 2 --dp-size 2",
        "moe_tp = 2 // 4 = 0",
        "tp2.dp2.pp2/ep4",
        "--tp-size 4 --attn-dp-size 2 --ep-size 4 --pp-size 2",
    ),
    Refusal(
        "trtllm",
        SMALL,
        "moe-grid",
        "--tp_size 2 --pp_size 2 --ep_size 4 (enable_attention_dp: true)",
        "moe_tp = 2 // 4 = 0",
        "tp4.pp2/ep4",
        "--tp_size 4 --pp_size 2 --ep_size 4",
    ),
    Refusal(
        "megatron",
        SMALL,
        "two-meshes",
        "--tensor-model-parallel-size 2 --pipeline-model-parallel-size 2 "
        "--expert-model-parallel-size 4 (world size 8)",
        "8 % 16 = 8. ETP is TP by default; the smallest world is 16 with ETP2, 8 with ETP1",
        "tp2.dp2.pp2/ep4",
        "--tensor-model-parallel-size 2 --pipeline-model-parallel-size 2 "
        "--expert-model-parallel-size 4 --expert-tensor-parallel-size 1 (world size 8)",
    ),
    Refusal(
        "gshard",
        SMALL,
        "ep-in-dp",
        "TP=2 PP=2 DP=2 ep_size=4",
        "EP 4 > DP 2",
        "tp2.dp2.pp2/ep2.edp2",
        "TP=2 PP=2 DP=2 ep_size=2",
    ),
    Refusal(
        "vllm",
        LARGE,
        "ep-derived",
        "-tp 8 -pp 2 -dp 2 --enable-expert-parallel",
        "TP x DP = 8 x 2 = 16, and no flag sets it: EP would be 16, not 64",
        "tp8.dp2.pp2/ep16",
        "-tp 8 -pp 2 -dp 2 --enable-expert-parallel",
    ),
    Refusal(
        "sglang",
        LARGE,
        "moe-grid",
        "--tp-size 8 --ep-size 64 --pp-size 2 --dp-size 2",
        "moe_tp = 8 // 64 = 0",
        "tp8.dp2.pp2/ep16",
        "--tp-size 16 --attn-dp-size 2 --ep-size 16 --pp-size 2",
    ),
    Refusal(
        "trtllm",
        LARGE,
        "moe-grid",
        "--tp_size 8 --pp_size 2 --ep_size 64 (enable_attention_dp: true)",
        "moe_tp = 8 // 64 = 0",
        "tp16.pp2/ep16",
        "--tp_size 16 --pp_size 2 --ep_size 16",
    ),
    Refusal(
        "megatron",
        LARGE,
        "two-meshes",
        "--tensor-model-parallel-size 8 --pipeline-model-parallel-size 2 "
        "--expert-model-parallel-size 64 (world size 32)",
        "the smallest world is 1024 with ETP8, 128 with ETP1",
        "tp8.dp2.pp2/ep16",
        "--tensor-model-parallel-size 8 --pipeline-model-parallel-size 2 "
        "--expert-model-parallel-size 16 --expert-tensor-parallel-size 1 (world size 32)",
    ),
    Refusal(
        "gshard",
        LARGE,
        "ep-in-dp",
        "TP=8 PP=2 DP=2 ep_size=64",
        "EP 64 > DP 2",
        "tp8.dp2.pp2/ep2.edp8",
        "TP=8 PP=2 DP=2 ep_size=2",
    ),
    Refusal(
        "shardwright",
        LARGE,
        "folded-product",
        "--layout EP64-TP8-PP2-DP2",
        "tp8.dp2.pp2+ep64, 160 GPUs",
        "tp8.dp2.pp2/ep16",
        "--layout tp8.dp2.pp2/ep16",
    ),
]


@pytest.mark.parametrize("expected", REFUSALS, ids=lambda one: f"{one.engine}-{one.text}")
def test_refusals(expected):
    found = verdict(expected.engine, expected.text)
    assert not found.accepted
    assert (found.rule, found.arguments) == (expected.rule, expected.arguments)
    assert expected.said in found.sentence
    num_gpus = parse_layout(expected.nearest).num_gpus
    assert f"The nearest legal layout has {num_gpus} GPUs" in found.sentence
    assert (found.nearest, found.nearest_arguments) == (expected.nearest, expected.nearest_arguments)
    assert (found.gpus, found.layout) == (None, None)


def test_tensorrt_llm_names_attention_dp_as_near():
    assert verdict("trtllm", SMALL).sentence.endswith("as near: dp4.pp2/ep4")


@pytest.mark.parametrize(
    ("engine", "text", "model", "gpus", "layout"),
    [
        ("sglang", "TP4-EP4-PP2-DP2", REFERENCE, 16, "tp4.pp2/ep4.x2"),
        ("sglang", "TP4-EP2", REFERENCE, 4, "tp4/ep2.etp2"),
        ("trtllm", "TP4-EP4-PP2", REFERENCE, 8, "tp4.pp2/ep4"),
        ("trtllm", "TP4-EP2-DP4", REFERENCE, 4, "dp4/ep2.etp2"),
        ("megatron", "TP2-EP4-ETP1-PP2-DP2", REFERENCE, 8, "tp2.dp2.pp2/ep4"),
        ("megatron", "TP2-EP4-PP2", REFERENCE, 16, "tp2.dp4.pp2/ep4.etp2"),
        ("megatron", "TP2-EP4-PP2-DP4", REFERENCE, 16, "tp2.dp4.pp2/ep4.etp2"),
        ("gshard", "TP2-EP4-DP8", REFERENCE, 16, "tp2.dp8/ep4.edp4"),
        ("vllm", "TP2-DP2", REFERENCE, 4, "tp2.dp2/etp4"),
        ("vllm", "TP2-DP3", DENSE, 6, "tp2.x3"),
        ("vllm", "TP4-EP8-DP2-x2", LATENT, 16, "tp4.dp2/ep8.x2"),
        ("shardwright", "TP2-DP4-EP4-ETP2", REFERENCE, 8, "tp2.dp4/ep4.etp2"),
        ("shardwright", "TP2-DP4", REFERENCE, 8, "tp2.dp4/ep8"),
    ],
)
def test_acceptances(engine, text, model, gpus, layout):
    found = verdict(engine, text, model)
    assert (found.accepted, found.gpus, found.layout) == (True, gpus, layout)


@pytest.mark.parametrize(
    ("engine", "text", "model", "rule"),
    [
        ("vllm", "TP3", REFERENCE, "heads"),
        ("vllm", "PP32", REFERENCE, "layer-each"),
        ("vllm", "TP2-EP2", DENSE, "dense"),
        ("vllm", "TP4-ETP2", REFERENCE, "ep-derived"),
        ("sglang", "TP8-EP8", LATENT, "even-experts"),
        ("sglang", "TP4-EP2-EDP2", REFERENCE, "no-expert-copies"),
        ("trtllm", "TP4-EP4-DP2", REFERENCE, "attention-dp"),
        ("megatron", "PP5", REFERENCE, "even-layers"),
        ("gshard", "DP4-ETP2", REFERENCE, "whole-experts"),
    ],
)
def test_rules_of_the_model_refuse_too(engine, text, model, rule):
    found = verdict(engine, text, model)
    assert (found.accepted, found.rule) == (False, rule)
    assert found.nearest is not None


DEGREE = st.none() | st.sampled_from([1, 2, 3, 4, 5, 8, 12])


@settings(deadline=None)
@given(
    st.builds(Stated, text=st.just("any"), **dict.fromkeys(("tp", "dp", "pp", "ep", "etp", "edp"), DEGREE)),
    st.sampled_from(MODELS),
    st.sampled_from(list(ENGINES)),
)
def test_a_verdict_names_a_layout_that_the_engine_runs(stated, model, engine):
    found = ENGINES[engine].read(stated, model)
    layout = parse_layout(found.layout or found.nearest or "")
    assert found.accepted == (found.nearest is None)
    assert broken(ENGINES[engine].rules, layout, model, None) == []
    if found.accepted:
        assert found.gpus == layout.num_gpus


def test_degrees_beyond_any_cluster_are_bad_input():
    with pytest.raises(InputError, match="at most 10,000,000"):
        verdict("vllm", "TP10000-DP10000")


def test_an_unknown_engine_names_the_known_ones():
    with pytest.raises(InputError, match="one of vllm, sglang, trtllm, megatron, gshard, shardwright"):
        find_engine("deepspeed")
