"""Every family under every layout gives its own answers: logits, routing, bytes, weights and KV."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from shardwright.engine.catalog import ENGINES
from shardwright.engine.engine import breaches
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout, parse_layout
from shardwright.model.hf import read_config
from shardwright.model.spec import GQA
from shardwright.plan.proof import Trial
from shardwright.run.prove import dense_part, prove_subject
from shardwright.run.subject import NOISE_MULTIPLE, Subject
from shardwright.run.tiny import FAMILIES

OFTEN: dict[str, int] = {
    "tp1": 3,
    "tp4/ep2.etp2": 2,
    "tp8/ep2.etp2.edp2": 1,  # 4 KV heads, each on two ranks
    "dp3/ep3": 1,  # 3, 3 and 2 experts
    "dp2/etp2": 2,
    "tp2.dp2/etp4": 1,
    "tp2.dp4/ep2.etp2.edp2": 2,
    "dp4/ep4.r2": 1,
    "pp3": 2,
    "tp2.pp2:3:1/ep2": 2,
    "tp2.dp2.pp2/ep4": 2,  # the reference document's eight GPUs, folded
    "tp2.dp2.pp2/ep2.etp2.r2": 1,
    "tp2+ep3": 1,
    "tp2.dp2+ep3.etp2": 2,
    "dp2.pp2+ep2.edp2.r4": 2,
    "tp2.pp2+ep4.shared": 2,  # its eight GPUs, as it draws them
    "dp3.pp3+ep6.shared": 1,
    "pp4+ep2.shared": 4,
    "tp2/ep2.x2": 1,
}
"""Layout -> micro-batches in flight; in every run of the suite."""

SELDOM: dict[str, int] = {
    "tp2/ep2": 2,
    "tp2/etp2": 1,
    "tp4/ep2.edp2": 1,
    "tp8/ep8": 1,
    "tp8/ep2.etp4": 2,
    "dp2/ep2": 4,
    "dp3/etp3": 1,
    "dp5/ep5": 2,
    "tp2.dp3/ep6": 1,
    "tp2.dp3/ep3.etp2": 2,
    "tp2.dp3/ep2.edp3": 1,
    "dp4/ep2.edp2.r4": 2,
    "dp12/ep12.r4": 1,
    "tp2.dp4/ep2.etp4": 1,
    "tp4.dp2/etp8": 1,
    "tp4.dp2/ep4.etp2": 2,
    "pp2": 1,
    "pp4": 4,
    "dp3.pp2:1:3/ep3": 3,
    "dp2.pp3/etp2": 2,
    "tp8.pp3/ep4.etp2": 2,
    "tp4.pp4/ep4": 3,
    "tp2.dp4.pp4/ep8": 1,
    "tp1+ep1": 2,
    "dp2+ep5.r2": 3,
    "dp3+ep2.edp2": 1,
    "tp8+ep6": 1,
    "tp2.dp2.pp2+ep4": 2,
    "tp4.pp2+ep2.etp4": 4,
    "tp2.pp2+ep4.r4.shared.x2": 1,
    "tp2.pp2:3:1+ep5.shared": 3,
    "tp2.dp2.pp2+ep4.edp2.shared": 2,
    "tp2.dp2.pp4+ep8.etp2.shared": 1,
    "dp2.pp2/ep2.x3": 2,
    "tp2.dp2.pp4/ep4.r4.x2": 1,
}
"""The same; with those above in `make test-slow`."""

REFUSED: dict[tuple[str, str], str] = {
    ("dp3/etp3", "qwen3_moe"): "expert-width",
    ("dp3/etp3", "deepseek_v2"): "expert-width",
    ("dp3/etp3", "deepseek_v3"): "expert-width",
    ("tp2", "mixtral"): "folded-product",
    ("tp3/ep3", "olmoe"): "heads",
    ("tp3", "llama"): "heads",
    ("tp16", "qwen3"): "heads",
    ("dp9/ep9", "gpt_oss"): "expert-each",
    ("dp2/etp2.r2", "mixtral"): "redundant-need-ep",
    ("tp2.dp3/ep2.etp3", "gpt_oss"): "nested-slices",
    ("pp5", "qwen3"): "layer-each",
    ("pp5+ep2.shared", "deepseek_v3"): "layer-each",
}
"""(layout, family) -> the rule by which our runtime refuses it; the first three stand in the matrix."""

MOE = tuple(family for family in FAMILIES if family not in ("llama", "qwen3"))
ALL_MOE = ("mixtral", "olmoe", "gpt_oss")
"""Families with experts, and of these the ones without a dense layer."""

MATRIX = OFTEN | SELDOM
CELLS = [
    pytest.param(
        layout,
        micro_batches,
        family,
        marks=[pytest.mark.slow] if layout in SELDOM else [],
        id=f"{layout}-{family}",
    )
    for layout, micro_batches in MATRIX.items()
    for family in FAMILIES
    if (layout, family) not in REFUSED
]


@pytest.fixture(scope="module")
def subjects(made: Path) -> Mapping[str, Subject]:
    torch.set_num_threads(1)  # on matrices this small, two threads take three times the CPU time
    return {family: Subject(family, made / family) for family in FAMILIES}


def taken(layout: str, family: str) -> Layout:
    """The layout as the family takes it: a model without experts its attention part."""
    return parse_layout(layout) if family in MOE else dense_part(parse_layout(layout))


@pytest.mark.parametrize(("layout", "micro_batches", "family"), CELLS)
def test_a_layout_gives_the_models_own_answers(
    layout: str, micro_batches: int, family: str, subjects: Mapping[str, Subject]
) -> None:
    proof = prove_subject(parse_layout(layout), subjects[family], Trial(micro_batches=micro_batches))
    own = taken(layout, family)
    assert proof.failures == ()
    assert proof.passed
    assert proof.layout == format_layout(own)
    assert proof.num_sequences == 2 * micro_batches * own.dp * own.copies
    assert proof.largest_difference <= NOISE_MULTIPLE * proof.noise
    assert 0 < proof.noise < 2e-5  # fp32, logits of some units
    assert proof.greedy_equal
    assert proof.strayed_sequences == 0
    assert proof.weights_equal
    assert proof.kv_equal
    assert all(row.recorded_bytes == row.graph_bytes for row in proof.collectives)
    assert {row.name for row in proof.collectives} == set(talks(own, family))


def talks(layout: Layout, family: str) -> list[str]:
    """Which collectives there are, from the degrees alone."""
    names = []
    if layout.tp > 1:
        names += ["embedding_sum", "attention_sum", "logits_gather"]
        names += ["experts_sum"] if family in MOE else []
        names += ["qk_norm_sum"] if family == "olmoe" else []
        names += ["mlp_sum"] if family not in ALL_MOE else []
    if layout.pp > 1:
        names += ["stage"]
    if family in MOE and (layout.ep > 1 or layout.home != "folded"):
        names += ["dispatch", "combine"]
    if family in MOE and layout.home == "folded" and layout.etp > layout.tp:
        names += ["lane_gather", "lane_scatter"]
    return names


def test_the_bytes_of_the_reference_layout_by_hand(subjects: Mapping[str, Subject]) -> None:
    """Prompts of 5, 6, 6 and 7 tokens, as 2 x 6 and 2 x 7 with padding; then 4 decode steps of 4 tokens.

    6 ranks a layer exchange: what 2 attention ranks send, 4 expert ranks receive, and each counts its own.
    """
    proof = prove_subject(parse_layout("tp2.pp2+ep4.shared"), subjects["mixtral"], Trial(micro_batches=2))
    tokens, layers, plays, row_bytes = 2 * 6 + 2 * 7 + 4 * 4, 4, 5 * 2, 64 * 4
    assert {row.name: (row.count, row.recorded_bytes) for row in proof.collectives} == {
        "embedding_sum": (2 * plays, 2 * tokens * row_bytes),
        "attention_sum": (2 * layers * plays, 2 * layers * tokens * row_bytes),
        "dispatch": (6 * layers * plays, 2 * layers * (2 * tokens) * row_bytes),
        "combine": (6 * layers * plays, 2 * layers * (2 * tokens) * row_bytes),
        "experts_sum": (2 * layers * plays, 2 * layers * tokens * row_bytes),
        "stage": (4 * plays, 4 * tokens * row_bytes),
        "logits_gather": (2 * plays, 2 * (5 * 4) * 264 * 4),
    }


@pytest.mark.parametrize(("layout", "family"), REFUSED)
def test_what_a_family_cannot_take_is_refused_by_a_rule(
    layout: str, family: str, subjects: Mapping[str, Subject]
) -> None:
    broken = breaches(ENGINES["shardwright"], taken(layout, family), subjects[family].model, None)
    assert broken[0].rule == REFUSED[layout, family]
    with pytest.raises(InputError, match=re.escape(broken[0].sentence)):
        prove_subject(parse_layout(layout), subjects[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_runs_all_that_no_rule_refuses(family: str, made: Path) -> None:
    """Nothing is left out silently, and no family has fewer than 40 layouts.

    A model without experts takes 29 that differ: layouts of one attention part are one to it, run again.
    """
    model, engine = read_config(made / family, name=family), ENGINES["shardwright"]
    refused = {layout for layout in MATRIX if breaches(engine, taken(layout, family), model, None)}
    assert refused == {layout for layout, other in REFUSED if other == family} & set(MATRIX)
    run = [taken(layout, family) for layout in MATRIX if layout not in refused]
    often = [taken(layout, family) for layout in OFTEN if layout not in refused]
    assert len(run) >= 50
    assert len(often) >= 15
    assert len({format_layout(layout) for layout in run}) == (len(run) if family in MOE else 29)


def test_the_matrix_has_every_kind_of_split() -> None:
    layouts = [parse_layout(text) for text in OFTEN]
    kinds = {
        "KV heads on two ranks": lambda x: x.tp == 8,
        "ETP narrower than TP": lambda x: 1 < x.etp < x.tp,
        "ETP wider than TP": lambda x: x.etp > x.tp and x.home == "folded",
        "experts that do not divide": lambda x: (8 + x.redundant) % x.ep,
        "EDP": lambda x: x.edp > 1,
        "EDP on GPUs of their own": lambda x: x.edp > 1 and x.home == "per_stage",
        "uneven stages": lambda x: x.stage_layers or 4 % x.pp,
        "one layer a stage": lambda x: x.pp == 4,
        "DP": lambda x: x.dp > 2,
        "copies": lambda x: x.copies > 1,
        "folded, all axes": lambda x: x.home == "folded" and x.tp > 1 and x.dp > 1 and x.pp > 1 and x.ep > 1,
        "GPUs of their own a stage": lambda x: x.home == "per_stage" and x.pp > 1,
        "shared GPUs": lambda x: x.home == "shared" and x.pp > 1,
        "redundant experts, folded": lambda x: x.redundant == 2 and x.home == "folded",
        "redundant experts, disaggregated": lambda x: x.redundant == 4 and x.home == "per_stage",
        "KV heads of their own": lambda x: 1 < x.tp <= 4,
    }
    missing = [kind for kind, holds in kinds.items() if not any(map(holds, layouts))]
    assert not missing
    assert set(MATRIX.values()) == set(OFTEN.values()) == {1, 2, 3, 4}
    assert max(parse_layout(text).num_gpus for text in MATRIX) == 32
    assert all(format_layout(parse_layout(text)) == text for text in MATRIX)
    assert not set(OFTEN) & set(SELDOM)


def test_a_kv_head_stands_on_two_ranks_where_tp_is_8(made: Path) -> None:
    """What the comment in the matrix says of the families: 8 heads, 4 KV heads, 4 layers, 8 experts."""
    for family in FAMILIES:
        model = read_config(made / family, name=family)
        assert (model.attention.num_heads, model.num_layers) == (8, 4)
        assert not isinstance(model.attention, GQA) or model.attention.num_kv_heads == 4
        assert model.experts is None or model.experts.num_experts == 8
