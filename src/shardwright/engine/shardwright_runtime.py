"""Shardwright's own runtime: every home of experts, every expert grid, rows sent to their experts."""

from functools import partial

from shardwright.cluster.cluster import Cluster
from shardwright.engine.dialect import Dialect, Outcome, judge
from shardwright.engine.engine import Degrees, Engine, MemoryRule, Overlap, Rule, SchedulerLimits, Sources
from shardwright.engine.rules import (
    dense_model,
    dense_width,
    expert_each,
    expert_ranks,
    expert_width,
    fits_cluster,
    folded_product,
    heads,
    kv_heads,
    layer_each,
    mismatch,
    redundant_need_ep,
)
from shardwright.engine.torchrun_command import LAUNCHER
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.layout.stages import even_stages
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec
from shardwright.record import Size
from shardwright.units import GIB

VERSION = "0.1"
OURS = "Shardwright 0.1, the runtime's sharding table"


def _nested_slices(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
    return mismatch(degrees.etp, degrees.tp) if model.experts else 0


def _expert_gpus_idle(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
    return 0 if model.experts or degrees.home == "folded" else expert_ranks(degrees)


RULES = (
    Rule(
        id="own-gpus-need-experts",
        sentence="Only a model with experts has GPUs for them alone",
        source=OURS,
        breach=_expert_gpus_idle,
        unit="GPUs without work",
        cure="a layout without expert GPUs",
    ),
    dense_model(OURS),
    folded_product(OURS),
    heads(OURS),
    kv_heads(OURS),
    dense_width(OURS),
    expert_width(OURS),
    expert_each(OURS),
    redundant_need_ep(OURS),
    Rule(
        id="nested-slices",
        sentence="One of ETP and TP divides the other",
        source=OURS,
        breach=_nested_slices,
        unit="ranks left over",
        cure="an ETP that divides TP",
    ),
    layer_each(OURS),
    fits_cluster(),
)


def flags(layout: Layout) -> list[str]:
    """The layout in its canonical form."""
    return ["--layout", format_layout(layout)]


def _literal(stated: Stated) -> list[str]:
    return ["--layout", stated.text]


def _read(stated: Stated, model: ModelSpec) -> Outcome:
    tp, dp, pp, copies = stated.tp or 1, stated.dp or 1, stated.pp or 1, stated.copies or 1
    if model.experts is None:
        layout = Layout(tp=tp, pp=pp, copies=copies * dp)
        sentence = f"{layout.num_gpus} GPUs; DP of a dense model is {dp} independent copies"
        return Outcome(layout=layout, rule="folded-product", sentence=sentence, source=OURS)
    ranks, etp = tp * dp, stated.etp or 1
    ep = stated.ep or max(1, ranks // (etp * (stated.edp or 1)))
    edp = stated.edp or max(1, ranks // (etp * ep))
    grid = f"ETP x EP x EDP = {etp} x {ep} x {edp} = {etp * ep * edp}"
    if etp * ep * edp != ranks:
        own = Layout(tp=tp, dp=dp, pp=pp, ep=ep, etp=etp, edp=edp, copies=copies, home="per_stage")
        sentence = (
            f"TP x DP = {tp} x {dp} = {ranks} is not {grid}; with experts on GPUs of their own it is "
            f"{format_layout(own)}, {own.num_gpus} GPUs"
        )
        return Outcome(layout=None, rule="folded-product", sentence=sentence, source=OURS)
    layout = Layout(tp=tp, dp=dp, pp=pp, ep=ep, etp=etp, edp=edp, copies=copies)
    sentence = f"TP x DP = {tp} x {dp} = {ranks} = {grid}; {layout.num_gpus} GPUs"
    return Outcome(layout=layout, rule="folded-product", sentence=sentence, source=OURS)


DIALECT = Dialect(
    engine="shardwright",
    version=VERSION,
    source=OURS,
    rules=RULES,
    flags=flags,
    literal=_literal,
    read=_read,
)

MEMORY = MemoryRule(
    utilisation=0.9,
    runtime_bytes_alone=0.5 * GIB,
    runtime_bytes_grouped=1.0 * GIB,
    sampler_bytes_per_logit=4.0,
    limits=(SchedulerLimits(from_bytes=0, max_batched_tokens=8192, max_sequences=256),),
    block_tokens=1,
    source="assumption: greedy choice on fp32 logits; context and communicators not measured",
)

OVERLAP = Overlap(
    micro_batches=(1, 2, 3, 4),
    exchange="all_to_all",
    hides="all",
    interference=20 / 132,
    source=(
        "Shardwright 0.1, the runtime's session. Collectives take 20 of 132 SMs of an H800: DeepSeek-V3 "
        "technical report, arXiv 2412.19437, section 3.2.2; not measured for ours. Depths of ping-pong: "
        "3 and 4 hide what there is to hide, MegaScale-Infer, arXiv 2504.02263, section 4.1"
    ),
)

SHARDWRIGHT_0_1 = Engine(
    id="shardwright",
    version=VERSION,
    title="Shardwright runtime",
    homes=("folded", "per_stage", "shared"),
    rules=RULES,
    rank_order=("copy", "pp", "dp", "tp"),
    expert_order=("edp", "ep", "etp"),
    exchange="all_to_all",
    stages=even_stages,
    memory=MEMORY,
    sources=Sources(
        ranks="Shardwright 0.1, layout/grid.py",
        exchange="Shardwright 0.1, the runtime's exchange",
        stages="Shardwright 0.1, layout/stages.py",
        flags="Shardwright 0.1, layout/notation.py",
    ),
    read=partial(judge, DIALECT),
    launcher=LAUNCHER,
    overlap=OVERLAP,
    kernels="torch",
    sums_in_levels=True,
)
