"""The readings of strategy strings, against counts worked out by hand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.layout.notation import format_layout, parse_layout
from shardwright.layout.readings import READINGS, Reading, match, readings
from shardwright.layout.stated import Stated, parse_stated


def read(text: str, *, has_experts: bool = True) -> dict[str, Reading]:
    return {reading.canonical: reading for reading in readings(parse_stated(text), has_experts=has_experts)}


def test_the_reference_strategy_has_exactly_six_readings() -> None:
    found = readings(parse_stated("TP2-EP4-PP2-DP2"), has_experts=True)
    assert [(reading.gpus, reading.canonical, reading.gpus_per_copy) for reading in found] == [
        (8, "tp2.dp2.pp2/ep4", 8),
        (12, "tp2.dp2.pp2+ep4.shared", 12),
        (16, "tp2.dp2.pp2/ep4.x2", 8),
        (16, "tp2.dp2.pp2+ep4", 16),
        (16, "tp2.pp2+ep4.shared.x2", 8),
        (32, "tp2.dp8.pp2/ep4.etp2.edp2", 32),
    ]
    assert all(not reading.contradicts for reading in found)
    assert found[0].rule == "derived"
    assert "2 x 2 x 2 = 8" in found[0].sentence
    assert any("Megatron-Bridge" in sentence for sentence in found[0].also)
    assert [reading.canonical for reading in match(found, 16)] == [
        "tp2.dp2.pp2/ep4.x2",
        "tp2.dp2.pp2+ep4",
        "tp2.pp2+ep4.shared.x2",
    ]
    assert match(found, 24) == ()


def test_the_opening_case_of_the_reference() -> None:
    found = read("EP64-TP8-PP2-DP2")
    assert {text: (reading.gpus, reading.contradicts) for text, reading in found.items()} == {
        "tp8.dp2.pp2/ep16": (32, "EP64: comes out as 16"),
        "tp8.dp2.pp2+ep64.shared": (96, ""),
        "tp8.dp8.pp2/ep64": (128, "DP2: comes out as 8"),
        "tp8.dp2.pp2+ep64": (160, ""),
        "tp8.pp2+ep64.shared.x2": (160, ""),
        "tp8.dp8.pp2/ep64.x2": (256, ""),
        "tp8.dp128.pp2/ep64.etp8.edp2": (2048, ""),
    }


@pytest.mark.parametrize(
    ("text", "canonical", "rule"),
    [
        ("TP8-EP4", "tp8/ep4.etp2", "folded"),  # TensorRT-LLM: moe_tp = tp / moe_ep
        ("TP8-EP4", "tp8/ep4.edp2", "minimum"),
        ("TP4-EP2-ETP2", "tp4/ep2.etp2", "folded"),
        ("TP16-DP16-EP16", "dp16/ep16", "stage_tp"),  # SGLang issue 8164: 16 GPUs, not 256
        ("TP2-DP4-EP2", "tp2.dp4/ep2.etp2.edp2", "expert_dp"),
        ("TP2-DP4-EP2", "tp2/ep2.x4", "replicas"),
        ("DP8-EP8", "dp8/ep8", "derived"),
        ("TP2-DP2", "tp2.dp2/ep4", "derived"),
        ("TP2-DP2", "tp2.dp2/etp4", "folded"),
        ("TP2-DP2", "tp2/ep2.x2", "replicas_derived"),
        ("TP2-DP2", "tp2/etp2.x2", "replicas"),
        ("TP2-EP4", "tp2.dp2/ep4", "minimum"),
        ("TP2-EP4-PP2-DP2-x3", "tp2.pp2+ep4.shared.x6", "dedicated"),
        ("TP2-EP4-PP2-DP2-x3", "tp2.dp2.pp2/ep4.x3", "derived"),
        ("TP2-EP4-ETP2-PP2", "tp2.dp4.pp2/ep4.etp2", "minimum"),
    ],
)
def test_one_reading_of_a_string(text: str, canonical: str, rule: str) -> None:
    assert read(text)[canonical].rule == rule


def test_tp_of_sglang_is_kept_as_the_stage() -> None:
    reading = read("TP16-DP4-EP16")["tp4.dp4/ep16"]
    assert (reading.gpus, reading.contradicts) == (16, "")


def test_a_layout_that_one_rule_keeps_whole_is_no_contradiction() -> None:
    reading = read("DP1-EP2")["dp2/ep2"]  # Megatron's minimum loses DP1, copies keep it
    assert (reading.rule, reading.contradicts) == ("stage_ep", "")
    assert any("Megatron-Bridge's minimum" in sentence for sentence in reading.also)


def test_degrees_that_do_not_divide_give_no_reading() -> None:
    rules = {reading.rule for reading in read("TP3-EP4").values()}
    assert rules == {"derived", "shared", "product"}


def test_without_ep_there_are_no_expert_gpus() -> None:
    assert all(reading.layout.home == "folded" for reading in read("TP2-PP2-DP2").values())


def test_one_stage_has_no_shared_home() -> None:
    assert all(reading.layout.home != "shared" for reading in read("TP2-EP4-DP2").values())


def test_dense_model() -> None:
    (reading,) = read("TP2-PP2-DP4", has_experts=False).values()
    assert (reading.canonical, reading.gpus, reading.contradicts) == ("tp2.pp2.x4", 16, "")
    (reading,) = read("TP2-EP4-PP2-DP2", has_experts=False).values()
    assert (reading.canonical, reading.gpus) == ("tp2.pp2.x2", 8)
    assert reading.contradicts == "EP4: comes out as 1"


def test_degrees_too_large_for_a_layout_give_no_reading() -> None:
    found = read("TP10000000-DP10000000")
    assert "stage_tp" in {reading.rule for reading in found.values()}
    assert "derived" not in {reading.rule for reading in found.values()}


def test_rules_have_one_id_each() -> None:
    assert len({rule.id for rule in READINGS}) == len(READINGS)


degree = st.none() | st.sampled_from([1, 2, 3, 4, 8, 16])
strategies = st.builds(
    Stated,
    text=st.just(""),
    tp=degree,
    dp=degree,
    pp=degree,
    ep=degree,
    etp=degree,
    edp=degree,
    copies=degree,
)


@given(strategies, st.booleans())
def test_every_reading_says_what_it_is(stated: Stated, has_experts: bool) -> None:
    found = readings(stated, has_experts=has_experts)
    assert found
    assert len({reading.canonical for reading in found}) == len(found)
    assert [reading.gpus for reading in found] == sorted(reading.gpus for reading in found)
    for reading in found:
        assert parse_layout(reading.canonical) == reading.layout
        assert reading.canonical == format_layout(reading.layout)
        assert reading.gpus == reading.layout.num_gpus
        assert reading.gpus == reading.gpus_per_copy * reading.layout.copies
        # Where nothing is lost, the printed arithmetic must come to the layout's own count.
        arithmetic, gpus = re.fullmatch(r".*: (.+) = (\d+)", reading.sentence, re.DOTALL).groups()  # type: ignore[union-attr]
        assert int(gpus) == reading.gpus
        if not reading.contradicts:
            assert eval(arithmetic.replace(" x ", " * ")) == reading.gpus
        for lost in re.findall(r"(\w+?)(\d+): comes out as (\d+)", reading.contradicts):
            assert getattr(stated, lost[0].lower()) == int(lost[1]) != int(lost[2])


@given(*[st.sampled_from([1, 2, 3, 4, 8, 16])] * 4)
def test_the_five_counts_that_always_exist(tp: int, dp: int, pp: int, ep: int) -> None:
    found = readings(Stated(text="", tp=tp, dp=dp, pp=pp, ep=ep), has_experts=True)
    assert {
        pp * tp * dp,
        pp * tp * dp + ep,
        pp * (tp * dp + ep),
        (pp * tp + ep) * dp,
        pp * tp * dp * ep,
    } <= {reading.gpus for reading in found}
