"""The tables of rules: array calls against scalar calls, and vLLM's law against a plain predicate."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from shardwright.cluster.device import NOT_STATED
from shardwright.engine.catalog import ENGINES, VERSIONS, find_engine
from shardwright.engine.engine import breaches
from shardwright.engine.vllm import VLLM_0_33
from shardwright.layout.layout import ExpertHome, Layout
from shardwright.model.spec import GQA, ModelSpec
from tests.engine.engine_strategies import CLUSTER, DENSE, LATENT, MODELS, REFERENCE, layouts

FIELDS = ("tp", "dp", "pp", "ep", "etp", "edp", "copies", "redundant")


@dataclass(frozen=True)
class Many:
    """Layouts of one home, as arrays."""

    tp: NDArray[np.int64]
    dp: NDArray[np.int64]
    pp: NDArray[np.int64]
    ep: NDArray[np.int64]
    etp: NDArray[np.int64]
    edp: NDArray[np.int64]
    copies: NDArray[np.int64]
    redundant: NDArray[np.int64]
    home: ExpertHome


@st.composite
def batches(draw: st.DrawFn) -> list[Layout]:
    home = draw(st.sampled_from(["folded", "per_stage", "shared"]))
    return draw(st.lists(layouts(home), min_size=1, max_size=6))


@settings(deadline=None)
@given(batches(), st.sampled_from(MODELS), st.sampled_from(list(ENGINES.values())), st.booleans())
def test_one_array_call_says_what_the_scalar_calls_say(batch, model, engine, bounded):
    cluster = CLUSTER if bounded else None
    many = Many(
        *(np.array([getattr(layout, name) for layout in batch]) for name in FIELDS), home=batch[0].home
    )
    for rule in engine.rules:
        apart = [float(rule.breach(layout, model, cluster)) for layout in batch]
        at_once = np.broadcast_to(rule.breach(many, model, cluster), len(batch))
        assert at_once.tolist() == apart, rule.id
        assert min(apart) >= 0, rule.id


def attention_shards(tp: int, model: ModelSpec) -> bool:
    """Whether vLLM's QKVParallelLinear can slice or replicate the heads over tp ranks."""
    attention = model.attention
    kv = attention.num_kv_heads if isinstance(attention, GQA) else 1
    return attention.num_heads % tp == 0 and (kv % tp if tp < kv else tp % kv) == 0


def vllm_runs(layout: Layout, model: ModelSpec, num_gpus: int) -> bool:
    """What vLLM 0.33 does with these flags, written without the table: derive the grid, then shard."""
    tp, ranks, moe = layout.tp, layout.tp * layout.dp, model.experts
    if layout.home != "folded" or layout.copies * layout.pp * ranks > num_gpus:
        return False
    if not attention_shards(tp, model) or model.dense_width % tp or layout.pp > model.num_layers:
        return False
    grid = (layout.ep, layout.etp, layout.edp)
    if moe is None:
        return layout.dp == 1 and grid == (1, 1, 1) and not layout.redundant
    slots = moe.num_experts + layout.redundant
    switched_on = grid == (ranks, 1, 1) and ranks <= slots and (not layout.redundant or slots % ranks == 0)
    switched_off = grid == (1, ranks, 1)
    if layout.redundant and ranks == 1:
        return False
    return (
        (switched_on or (switched_off and not layout.redundant))
        and moe.width % layout.etp == 0
        and moe.shared_width % tp == 0
    )


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_vllm_law_is_what_the_flags_can_make(model):
    legal = 0
    degrees = (1, 2, 3, 4, 8, 16)
    for tp, dp, pp, ep, etp in product(degrees, (1, 2, 4), (1, 2, 16, 32), (*degrees, 64, 128), degrees):
        covering = max(1, tp * dp // (ep * etp))
        for redundant, copies, edp in ((0, 1, covering), (4, 1, covering), (0, 2, covering), (0, 1, 1)):
            try:
                layout = Layout(
                    tp=tp, dp=dp, pp=pp, ep=ep, etp=etp, edp=edp, copies=copies, redundant=redundant
                )
            except ValidationError:
                continue
            expected = vllm_runs(layout, model, CLUSTER.num_gpus)
            assert (not breaches(VLLM_0_33, layout, model, CLUSTER)) == expected, layout
            legal += expected
    assert legal >= 10


@pytest.mark.parametrize(
    ("engine", "model", "layout", "rule", "excess"),
    [
        ("vllm", REFERENCE, Layout(tp=4, dp=8, ep=32), "gpus", 16),
        ("vllm", DENSE, Layout(tp=8), "heads", 4),
        ("vllm", DENSE, Layout(tp=6), "kv-heads", 2),
        ("vllm", REFERENCE, Layout(tp=4, ep=2, etp=2), "ep-derived", 3),
        ("vllm", REFERENCE, Layout(tp=4, dp=2, ep=4, edp=2), "no-expert-copies", 1),
        ("vllm", REFERENCE, Layout(tp=4, ep=4, redundant=6), "even-redundant", 2),
        ("vllm", LATENT, Layout(pp=8), "layer-each", 1),
        ("vllm", DENSE, Layout(dp=2), "dense", 1),
        ("vllm", REFERENCE, Layout(tp=2, ep=4, home="shared"), "folded-only", 4),
        ("vllm", REFERENCE, Layout(tp=4, dp=4), "ep-derived", 15),
        ("sglang", LATENT, Layout(tp=8, ep=8), "even-experts", 4),
        ("sglang", REFERENCE, Layout(tp=4, dp=2, ep=4, edp=2), "no-expert-copies", 1),
        ("trtllm", REFERENCE, Layout(tp=2, dp=2, ep=4), "attention-dp", 1),
        ("megatron", LATENT, Layout(pp=2), "even-layers", 1),
        ("megatron", REFERENCE, Layout(tp=4, redundant=8, etp=4), "no-redundant", 8),
        ("gshard", REFERENCE, Layout(tp=2, dp=2, ep=4), "ep-in-dp", 2),
        ("shardwright", DENSE, Layout(tp=2, ep=2, home="per_stage"), "own-gpus-need-experts", 2),
        ("shardwright", REFERENCE, Layout(tp=2, dp=3, etp=3, ep=2), "nested-slices", 1),
    ],
)
def test_a_broken_rule_says_by_how_much(engine, model, layout, rule, excess):
    found = {breach.rule: breach.excess for breach in breaches(ENGINES[engine], layout, model, CLUSTER)}
    assert found[rule] == excess


def test_sglang_slices_dense_layers_over_the_whole_stage():
    layout = Layout(tp=1, dp=3, etp=3)
    widths = {breach.rule: breach.excess for breach in breaches(ENGINES["sglang"], layout, LATENT, CLUSTER)}
    assert widths["dense-width"] == 2048 % 3
    assert not breaches(ENGINES["vllm"], layout, LATENT, CLUSTER)


@pytest.mark.parametrize("home", ["folded", "per_stage", "shared"])
def test_our_runtime_runs_every_home(home):
    layout = Layout(tp=2, dp=2, pp=2, ep=4, home=home)
    assert breaches(ENGINES["shardwright"], layout, REFERENCE, CLUSTER) == []


@pytest.mark.parametrize(
    ("vendor", "refusing"),
    [
        ("NVIDIA", set()),
        ("AMD", {"trtllm"}),
        ("Huawei", {"vllm", "vllm@0.32", "sglang", "trtllm"}),
        (NOT_STATED, set()),
    ],
)
def test_engines_run_on_the_vendors_that_they_name(vendor, refusing):
    made = CLUSTER.device.model_copy(update={"vendor": vendor})
    cluster = CLUSTER.model_copy(update={"device": made})
    found = {engine.id: breaches(engine, Layout(), REFERENCE, cluster) for engine in VERSIONS}
    assert {name for name, broken in found.items() if broken} == refusing
    for name in refusing:
        assert [(breach.rule, breach.excess) for breach in found[name]] == [("vendor", cluster.num_gpus)]
        assert not breaches(find_engine(name), Layout(), REFERENCE, None)


def test_every_rule_has_a_cure_and_an_id_of_its_own():
    for engine in VERSIONS:
        assert len({rule.id for rule in engine.rules}) == len(engine.rules)
        assert all(rule.cure and rule.unit and rule.sentence for rule in engine.rules)
