"""TensorRT-LLM 1.2: attention is TP over all GPUs of a stage or DP over all; experts are ETP x EP over them.

Read in tensorrt_llm/mapping.py (Mapping.__init__) and tensorrt_llm/llmapi/llm_args.py at github.com/NVIDIA.
"""

from functools import partial

import numpy as np

from shardwright.engine.dialect import Dialect, Outcome, judge, spell
from shardwright.engine.engine import (
    Engine,
    MemoryRule,
    OwnSums,
    Rule,
    Scheduler,
    SchedulerLimits,
    Sources,
    SumLimit,
)
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
    layer_each,
    made_by,
    no_expert_copies,
    redundant_need_ep,
)
from shardwright.engine.tensorrt_llm_command import ATTENTION_DP, LAUNCHER, flags
from shardwright.layout.layout import Layout
from shardwright.layout.stages import first_stages
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec
from shardwright.units import GIB

VERSION = "1.2"
MAPPING = "TensorRT-LLM 1.2, tensorrt_llm/mapping.py, Mapping.__init__"
RULES = (
    made_by(
        "NVIDIA",
        source="TensorRT-LLM 1.2, README.md",
        cure="an engine that runs on these GPUs, or engine: any",
    ),
    folded_only(MAPPING),
    dense_model(MAPPING),
    no_expert_copies(MAPPING),
    Rule(
        id="attention-dp",
        sentence="Attention is TP over all GPUs of a stage, or DP over all: TP or DP is 1",
        source="TensorRT-LLM 1.2, tensorrt_llm/llmapi/llm_args.py, enable_attention_dp",
        breach=lambda degrees, model, cluster: np.minimum(degrees.tp, degrees.dp) - 1,
        unit="ranks",
        cure="all of TP x DP as TP, or all of it as DP",
    ),
    folded_product(MAPPING),
    heads("TensorRT-LLM 1.2, tensorrt_llm/_torch/modules/attention.py"),
    kv_heads("TensorRT-LLM 1.2, tensorrt_llm/_torch/modules/attention.py"),
    dense_width("TensorRT-LLM 1.2, tensorrt_llm/_torch/modules/gated_mlp.py"),
    expert_width("TensorRT-LLM 1.2, tensorrt_llm/_torch/modules/fused_moe/interface.py"),
    even_experts("TensorRT-LLM 1.2, tensorrt_llm/_torch/modules/fused_moe/interface.py"),
    redundant_need_ep("TensorRT-LLM 1.2, llm_args.py, moe_config.load_balancer.num_slots"),
    layer_each("TensorRT-LLM 1.2, tensorrt_llm/mapping.py, Mapping.pp_layers"),
    fits_cluster(),
)


def _literal(stated: Stated) -> list[str]:
    degrees = {"--tp_size": stated.tp, "--pp_size": stated.pp, "--ep_size": stated.ep}
    argv = spell(degrees)
    argv += [f"(moe_tensor_parallel_size: {stated.etp})"] if stated.etp else []
    return [*argv, f"({ATTENTION_DP})"] if (stated.dp or 1) > 1 else argv


def _read(stated: Stated, model: ModelSpec) -> Outcome:
    tp, dp, pp, copies = stated.tp or 1, stated.dp or 1, stated.pp or 1, stated.copies or 1
    if dp not in (1, tp):
        told = f"Attention DP is over all of tp_size or off: DP is {tp} or 1, not {dp}"
    else:
        told = f"PP x tp_size = {pp} x {tp} = {pp * tp} GPUs"
    grid = {"ep": 1, "etp": 1, "edp": stated.edp or 1}
    if model.experts is not None:
        ep = stated.ep or tp // (stated.etp or tp)
        etp = stated.etp or tp // ep
        if ep * etp != tp:
            sentence = (
                f"tp_size must be moe_tp x moe_ep, but {tp} is not {etp} x {ep} = {etp * ep}"
                f"{'' if stated.etp else f' (moe_tp = {tp} // {ep} = {etp})'}"
            )
            sentence += "" if dp in (1, tp) else f". {told}"
            return Outcome(layout=None, rule="moe-grid", sentence=sentence, source=MAPPING)
        grid |= {"ep": ep, "etp": etp}
    if dp not in (1, tp) or grid["edp"] > 1:
        sentence = told if dp not in (1, tp) else f"No flag holds an expert set {grid['edp']} times"
        return Outcome(layout=None, rule="attention-dp", sentence=sentence, source=MAPPING)
    layout = Layout(tp=tp // dp, dp=dp, pp=pp, copies=copies, **grid)
    return Outcome(layout=layout, rule="moe-grid", sentence=told, source=MAPPING)


DIALECT = Dialect(
    engine="trtllm",
    version=VERSION,
    source=MAPPING,
    rules=RULES,
    flags=flags,
    literal=_literal,
    read=_read,
)

MEMORY = MemoryRule(
    utilisation=0.9,
    of="free",
    runtime_bytes_alone=1.0 * GIB,
    runtime_bytes_grouped=2.0 * GIB,
    sampler_bytes_per_logit=0.0,
    limits=(SchedulerLimits(from_bytes=0, max_batched_tokens=8192, max_sequences=2048),),
    block_tokens=32,
    source=(
        "TensorRT-LLM 1.2, tensorrt_llm/llmapi/llm_args.py: free_gpu_memory_fraction 0.9, tokens_per_block "
        "32, max_num_tokens 8192, max_batch_size 2048. Assumed, not measured: 1 GiB of context on one GPU, "
        "2 GiB with communicators; the sampler within the activations"
    ),
)

TENSORRT_LLM_1_2 = Engine(
    id="trtllm",
    kernels="trtllm",
    version=VERSION,
    title="TensorRT-LLM",
    homes=("folded",),
    rules=RULES,
    rank_order=("copy", "pp", "dp", "tp"),
    expert_order=("edp", "etp", "ep"),
    exchange="gather",
    stages=first_stages,
    memory=MEMORY,
    sources=Sources(
        ranks=f"{MAPPING}: PP x CP x TP; moe_ep_rank = tp_rank % moe_ep_size, EP adjacent and ETP outside",
        exchange=(
            "TensorRT-LLM 1.2, tensorrt_llm/_torch/modules/fused_moe: all-gather and reduce-scatter under "
            "attention DP, but for GPUs joined by NVLink across nodes"
        ),
        stages="TensorRT-LLM 1.2, tensorrt_llm/mapping.py, Mapping.pp_layers",
        flags="TensorRT-LLM 1.2, tensorrt_llm/commands/serve.py",
    ),
    read=partial(judge, DIALECT),
    launcher=LAUNCHER,
    scheduler=Scheduler(
        splits=False,
        reserve=1.0,
        source=(
            "TensorRT-LLM 1.2, tensorrt_llm/llmapi/llm_args.py: capacity_scheduler_policy "
            "GUARANTEED_NO_EVICT, enable_chunked_prefill false"
        ),
    ),
    own_sums=OwnSums(
        limits=(SumLimit(up_to_bytes=None),),
        across_nodes=True,
        source=(
            "TensorRT-LLM 1.3.0rc20, AllReduceStrategy.AUTO: it chooses among its kernels and NCCL by a "
            "table of its own, MNNVL kernels across the trays of a rack; the measured rows are its choice "
            "at every size"
        ),
    ),
)
