"""Megatron-Core 0.16: attention TP x DP and experts ETP x EP x EDP are two meshes over the same stage.

Read in the wheel of 0.16.1 from PyPI; files are named below `megatron/core/`.
"""

from functools import partial
from math import lcm

import numpy as np

from shardwright.engine.dialect import Dialect, Outcome, judge, spell
from shardwright.engine.engine import Engine, MemoryRule, Rule, SchedulerLimits, Sources
from shardwright.engine.rules import (
    dense_model,
    dense_width,
    even_experts,
    expert_width,
    fits_cluster,
    folded_only,
    folded_product,
    heads,
    kv_heads,
)
from shardwright.layout.layout import Layout
from shardwright.layout.stages import even_stages
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec
from shardwright.units import GIB

VERSION = "0.16.1"
GRID = "Megatron-Core 0.16.1, parallel_state.py:738-797"

RULES = (
    folded_only(GRID),
    dense_model(GRID),
    folded_product(GRID),
    heads("Megatron-Core 0.16.1, transformer/transformer_config.py:924"),
    kv_heads("Megatron-Core 0.16.1, transformer/transformer_config.py:939-944"),
    dense_width("Megatron-Core 0.16.1, tensor_parallel/layers.py:842,1166"),
    expert_width("Megatron-Core 0.16.1, transformer/moe/experts.py:133-136"),
    even_experts("Megatron-Core 0.16.1, transformer/moe/moe_layer.py:101"),
    Rule(
        id="no-redundant",
        sentence="There are no redundant experts",
        source="Megatron-Core 0.16.1, transformer/moe/moe_layer.py:101",
        breach=lambda degrees, model, cluster: degrees.redundant,
        unit="redundant experts",
        cure="no redundant experts",
    ),
    Rule(
        id="even-layers",
        sentence="PP divides the number of layers",
        source="Megatron-Core 0.16.1, transformer/transformer_config.py:1460",
        breach=lambda degrees, model, cluster: np.mod(model.num_layers, degrees.pp),
        unit="layers left over",
        cure="a PP that divides the layers",
    ),
    fits_cluster(),
)


def flags(layout: Layout) -> list[str]:
    """The arguments of `layout`; DP and EDP follow from the world size. ETP is TP unless it is given."""
    degrees = {
        "--tensor-model-parallel-size": layout.tp,
        "--pipeline-model-parallel-size": layout.pp,
        "--expert-model-parallel-size": layout.ep,
    }
    argv = spell(degrees, least=2)
    argv += ["--expert-tensor-parallel-size", str(layout.etp)] if layout.etp != layout.tp else []
    return [*argv, f"(world size {layout.gpus_per_copy})"]


def _literal(stated: Stated) -> list[str]:
    degrees = {
        "--tensor-model-parallel-size": stated.tp,
        "--pipeline-model-parallel-size": stated.pp,
        "--expert-model-parallel-size": stated.ep,
        "--expert-tensor-parallel-size": stated.etp,
    }
    argv = spell(degrees)
    world = (stated.tp or 1) * (stated.pp or 1) * (stated.dp or 1)
    return [*argv, f"(world size {world})"] if stated.dp else argv


def _read(stated: Stated, model: ModelSpec) -> Outcome:
    tp, pp, ep, copies = stated.tp or 1, stated.pp or 1, stated.ep or 1, stated.copies or 1
    etp = stated.etp or tp
    attention, experts = tp * pp, etp * ep * pp
    if model.experts is None:
        layout = Layout(tp=tp, pp=pp, copies=copies * (stated.dp or 1))
        sentence = f"World = TP x PP x DP = {layout.num_gpus // copies}"
        return Outcome(layout=layout, rule="two-meshes", sentence=sentence, source=GRID)
    world = attention * stated.dp if stated.dp else lcm(attention, experts)
    dp, edp = world // attention, world // experts
    counted = f"World = TP x PP x DP = {tp} x {pp} x {dp} = {world}"
    grid = f"ETP x EP x PP = {etp} x {ep} x {pp} = {experts}"
    if world % experts:
        sentence = (
            f"{counted} is no multiple of {grid}: {world} % {experts} = {world % experts}. ETP is "
            f"{'given' if stated.etp else 'TP by default'}; the smallest world is {lcm(attention, experts)} "
            f"with ETP{etp}, {lcm(attention, ep * pp)} with ETP1"
        )
        return Outcome(layout=None, rule="two-meshes", sentence=sentence, source=GRID)
    if stated.edp not in (None, edp):
        sentence = f"EDP is derived, {world} / ({grid}) = {edp}, not {stated.edp}"
        return Outcome(layout=None, rule="two-meshes", sentence=sentence, source=GRID)
    layout = Layout(tp=tp, dp=dp, pp=pp, ep=ep, etp=etp, edp=edp, copies=copies)
    return Outcome(layout=layout, rule="two-meshes", sentence=f"{counted}, EDP = {edp}", source=GRID)


DIALECT = Dialect(
    engine="megatron",
    version=VERSION,
    source=GRID,
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
    block_tokens=256,
    source="assumption: Megatron-Core trains first of all, and sizes its inference cache by hand",
)

MEGATRON_0_16 = Engine(
    id="megatron",
    version=VERSION,
    title="Megatron-Core",
    homes=("folded",),
    rules=RULES,
    rank_order=("copy", "pp", "dp", "tp"),
    expert_order=("edp", "ep", "etp"),
    exchange="gather",
    stages=even_stages,
    memory=MEMORY,
    sources=Sources(
        ranks="Megatron-Core 0.16.1, parallel_state.py:562,773-806 (tp-cp-ep-dp-pp, fastest first)",
        exchange="Megatron-Core 0.16.1, transformer/transformer_config.py:675 (token dispatcher: allgather)",
        stages="Megatron-Core 0.16.1, transformer/transformer_config.py:1460",
        flags="Megatron-Core 0.16.1, model_parallel_config.py:20-75 (the fields of these names)",
    ),
    read=partial(judge, DIALECT),
)
