"""The classic scheme of GShard and DeepSpeed-MoE: EP is a part of training DP, so EP is at most DP.

The constraint is stated as the traditional one in the README of Megatron-Core's MoE (github.com/NVIDIA/
Megatron-LM, megatron/core/transformer/moe/README.md, 'breaks the EP <= DP constraint').
"""

from functools import partial

import numpy as np

from shardwright.cluster.cluster import Cluster
from shardwright.engine.dialect import Dialect, Outcome, judge
from shardwright.engine.engine import Degrees, Engine, MemoryRule, Rule, SchedulerLimits, Sources
from shardwright.engine.rules import (
    dense_model,
    dense_width,
    even_experts,
    fits_cluster,
    folded_only,
    folded_product,
    heads,
    kv_heads,
    layer_each,
)
from shardwright.layout.layout import Layout
from shardwright.layout.stages import even_stages
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec
from shardwright.record import Size
from shardwright.units import GIB

VERSION = "classic"
GSHARD = "GShard, arXiv 2006.16668"
GROUPS = "DeepSpeed, deepspeed/utils/groups.py, _create_expert_data_and_model_parallel"
MEGATRON_LM = "Megatron-LM, arXiv 1909.08053"


def _ep_in_dp(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
    beyond = np.subtract(degrees.ep, degrees.dp)
    return np.where(np.greater(beyond, 0), beyond, np.mod(degrees.dp, degrees.ep))


RULES = (
    folded_only(GROUPS),
    dense_model(GROUPS),
    Rule(
        id="ep-in-dp",
        sentence="EP divides DP",
        source=GROUPS,
        breach=_ep_in_dp,
        unit="ranks",
        cure="an EP that divides DP, or a DP that is a multiple of EP",
    ),
    Rule(
        id="whole-experts",
        sentence="ETP is 1: an expert is whole on its rank",
        source=GSHARD,
        breach=lambda degrees, model, cluster: np.subtract(degrees.etp, 1),
        unit="ranks",
        cure="ETP 1",
    ),
    Rule(
        id="no-redundant",
        sentence="There are no redundant experts",
        source=GSHARD,
        breach=lambda degrees, model, cluster: degrees.redundant,
        unit="redundant experts",
        cure="no redundant experts",
    ),
    folded_product(GROUPS),
    even_experts(GSHARD),
    heads(MEGATRON_LM),
    kv_heads(MEGATRON_LM),
    dense_width(MEGATRON_LM),
    layer_each("GPipe, arXiv 1811.06965"),
    fits_cluster(),
)


def flags(layout: Layout) -> list[str]:
    """The degrees in words: the scheme is an arrangement, not one program."""
    degrees = {"TP": layout.tp, "PP": layout.pp, "DP": layout.dp, "ep_size": layout.ep}
    return [f"{name}={degree}" for name, degree in degrees.items() if degree > 1]


def _literal(stated: Stated) -> list[str]:
    degrees = {"TP": stated.tp, "PP": stated.pp, "DP": stated.dp, "ep_size": stated.ep}
    return [f"{name}={degree}" for name, degree in degrees.items() if degree]


def _read(stated: Stated, model: ModelSpec) -> Outcome:
    tp, dp, pp, copies = stated.tp or 1, stated.dp or 1, stated.pp or 1, stated.copies or 1
    ep, etp = stated.ep or 1, stated.etp or 1
    counted = f"World = TP x PP x DP = {tp} x {pp} x {dp} = {tp * pp * dp}"
    if model.experts is None:
        layout = Layout(tp=tp, pp=pp, copies=copies * dp)
        return Outcome(layout=layout, rule="ep-in-dp", sentence=counted, source=GROUPS)
    if dp % ep:
        compared = f"EP {ep} > DP {dp}" if ep > dp else f"DP {dp} % EP {ep} = {dp % ep}"
        sentence = f"EP is a part of DP, but {compared}"
        return Outcome(layout=None, rule="ep-in-dp", sentence=sentence, source=GROUPS)
    edp = tp * dp // ep
    if etp > 1 or stated.edp not in (None, edp):
        sentence = f"Experts are whole, and EDP is TP x DP / EP = {tp} x {dp} / {ep} = {edp}"
        return Outcome(layout=None, rule="whole-experts", sentence=sentence, source=GSHARD)
    layout = Layout(tp=tp, dp=dp, pp=pp, ep=ep, edp=edp, copies=copies)
    return Outcome(layout=layout, rule="ep-in-dp", sentence=f"{counted}; EDP = {edp}", source=GROUPS)


DIALECT = Dialect(
    engine="gshard",
    version=VERSION,
    source=GROUPS,
    rules=RULES,
    flags=flags,
    literal=_literal,
    read=_read,
)

MEMORY = MemoryRule(
    utilisation=0.9,
    runtime_bytes_alone=1.0 * GIB,
    runtime_bytes_grouped=2.0 * GIB,
    sampler_bytes_per_logit=0.0,
    limits=(SchedulerLimits(from_bytes=0, max_batched_tokens=8192, max_sequences=256),),
    block_tokens=1,
    source="assumption: a training scheme without a KV cache of its own",
)

GSHARD_CLASSIC = Engine(
    id="gshard",
    version=VERSION,
    title="GShard and DeepSpeed-MoE",
    homes=("folded",),
    rules=RULES,
    rank_order=("copy", "pp", "dp", "tp"),
    # An EP group strides over TP (groups.py: [0, 2, 4, 6] for TP2); exact where EP = DP.
    expert_order=("ep", "edp", "etp"),
    exchange="all_to_all",
    stages=even_stages,
    memory=MEMORY,
    sources=Sources(
        ranks=GROUPS,
        exchange=GSHARD,
        stages="GPipe, arXiv 1811.06965",
        flags="assumption: the scheme is no one program, its degrees are written in words",
    ),
    read=partial(judge, DIALECT),
)
