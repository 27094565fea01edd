"""vLLM's afd-plugin on vLLM 0.26.0: experts on GPUs of their own. Its makers call it experimental.

Read at github.com/vllm-project/afd-plugin: README.md, afd_plugin/config.py, recipe/gpu/P2pNcclAFDConnector.
"""

import json
from dataclasses import replace

import numpy as np

from shardwright.cluster.cluster import Cluster
from shardwright.engine.engine import Degrees, Overlap, Rule, Sources
from shardwright.engine.launcher import Launcher
from shardwright.engine.rules import (
    attention_ranks,
    even_experts,
    expert_ranks,
    fits_cluster,
    heads,
    made_by,
    over,
)
from shardwright.engine.start import Say, Spoken, Start, spoken
from shardwright.engine.vllm import LINEAR, VLLM_0_33
from shardwright.layout.layout import Layout
from shardwright.model.spec import ModelSpec
from shardwright.record import Size

VERSION = "0.26.0"
README = f"afd-plugin for vLLM {VERSION}, README.md"
CONFIG = "afd-plugin, afd_plugin/config.py"

FAMILIES = ("deepseek_v2", "deepseek_v3")

CONNECTOR = "P2pNcclAFDConnector"
CONNECTOR_PORT, PORT_STEP = 6239, 10
"""README.md has 6239. Copies on one node are kept apart by more ports than the control plane takes."""

ATTENTION, EXPERTS = "attention", "ffn"


def _other_family(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
    return 0 if model.family in FAMILIES else 1


def _folded(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
    return 1 if degrees.home == "folded" else 0


def _uneven(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
    return np.mod(attention_ranks(degrees), expert_ranks(degrees))


def _sliced(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
    return degrees.etp * degrees.edp * degrees.pp - 1 + degrees.redundant


def _too_wide(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
    return over(attention_ranks(degrees), cluster.gpus_per_node) if cluster else 0


RULES = (
    made_by("NVIDIA", source=README, cure="another engine, or engine: any"),
    Rule(
        id="afd-family",
        sentence=f"The model is of the family {' or '.join(FAMILIES)}",
        source=README,
        breach=_other_family,
        unit="model of another family",
        cure="another engine",
    ),
    Rule(
        id="own-gpus",
        sentence="Experts live on GPUs of their own",
        source=README,
        breach=_folded,
        unit="layout that folds them",
        cure="a layout with +ep",
    ),
    Rule(
        id="afd-ranks",
        sentence="There are as many attention ranks as expert ranks, or a multiple",
        source=f"{README}; afd_plugin/distributed.py",
        breach=_uneven,
        unit="ranks left over",
        cure="an EP that divides TP x DP",
    ),
    Rule(
        id="afd-whole",
        sentence="Experts are whole and held once, and there is one stage",
        source=README,
        breach=_sliced,
        unit="beyond PP 1, ETP 1, EDP 1 and no redundant experts",
        cure="PP, ETP and EDP of 1",
    ),
    Rule(
        id="afd-node",
        sentence="The attention ranks of a copy are on one node, and so are its expert ranks",
        source=f"afd-plugin for vLLM {VERSION}, recipe/gpu/{CONNECTOR}: no recipe spreads a role over nodes",
        breach=_too_wide,
        unit="GPUs too many",
        cure="a smaller TP x DP, and copies",
    ),
    heads(LINEAR),
    even_experts(README),
    fits_cluster(),
)


def _degrees(start: Start) -> tuple[int, int]:
    """(TP, DP) of the role. Experts: those of attention where both have as many ranks, as in the recipes;
    else each rank holds what is not sliced by experts whole."""
    layout = start.layout
    if start.place.role == ATTENTION or layout.expert_ranks == layout.attention_ranks:
        return layout.tp, layout.dp
    return 1, layout.expert_ranks


def _config(start: Start) -> str:
    place = start.place
    role = {
        "role": place.role,
        "connector": CONNECTOR,
        "host": place.head,
        "port": CONNECTOR_PORT + place.index * PORT_STEP,
        "num_attention_ranks": start.layout.attention_ranks,
        "num_ffn_ranks": start.layout.expert_ranks,
    }
    return json.dumps({"afd": role})


ROWS = (
    Say(flag="--tensor-parallel-size", value=lambda start: _degrees(start)[0], source=README),
    Say(flag="--data-parallel-size", value=lambda start: _degrees(start)[1], source=README),
    Say(flag="--enable-expert-parallel", value=lambda start: True, source=README),
    Say(flag="--max-model-len", value=lambda start: start.max_model_len, source=README),
    Say(flag="--max-num-seqs", value=lambda start: start.tuning.max_sequences, source=README),
    Say(flag="--gpu-memory-utilization", value=lambda start: start.tuning.utilisation, source=README),
    Say(flag="--max-num-batched-tokens", value=lambda start: start.tuning.max_batched_tokens, source=README),
    Say(flag="--enable-dbo", value=lambda start: start.overlap, source=README),
    Say(flag="--enforce-eager", value=lambda start: True, source=README),
    Say(flag="--additional-config", value=_config, source=CONFIG),
    Say(flag="--host", value=lambda start: start.place.host, source=README),
    Say(flag="--port", value=lambda start: start.place.port, source=README),
)


def speak(start: Start) -> Spoken:
    """The server of one role."""
    argv = ("vllm", "serve", start.model.name, *spoken(ROWS, start))
    return Spoken(argv=argv, environment={"VLLM_USE_V2_MODEL_RUNNER": "0"})


def roles(layout: Layout) -> tuple[tuple[str, int], ...]:
    """Expert ranks come before attention ranks."""
    return ((EXPERTS, layout.expert_ranks), (ATTENTION, layout.attention_ranks))


def spans(layout: Layout, nodes: int) -> str:
    """Why a copy does not start over so many nodes: it has two roles."""
    return f"its two roles are on two nodes at most, not {nodes}" if nodes > 2 else ""


AFD = replace(
    VLLM_0_33,
    id="afd",
    version=VERSION,
    title="vLLM's afd-plugin on vLLM",
    homes=("per_stage", "shared"),
    rules=RULES,
    exchange="all_to_all",
    sources=Sources(ranks=README, exchange=README, stages=README, flags=README),
    overlap=Overlap(
        micro_batches=(2,),
        exchange="all_to_all",
        hides="exchanges",
        max_pp=1,
        flags=("--enable-dbo",),
        source=f"{README}: exactly two ubatches",
    ),
    launcher=Launcher(
        speak=speak,
        spans=spans,
        roles=roles,
        own_address="VLLM_HOST_IP",
        health="/health",
        first_port=18000,
        port_step=2,
        source=README,
    ),
)
"""For launching alone: it is priced as any engine's layout, by our runtime's rules."""
