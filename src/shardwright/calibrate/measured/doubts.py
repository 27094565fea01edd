"""Rows that no engine on those GPUs can have made: they are predicted like all others, but never fitted.

Each rule is a sentence and a test of one case. What takes several rows to see (a TPOT that stays flat over
the batch) is none of them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from shardwright.calibrate.measured.case import Case
from shardwright.calibrate.measured.split import EP_UNSTATED
from shardwright.cluster.catalog import build_cluster
from shardwright.cluster.device import Device
from shardwright.cost.memory import RankMemory, rank_memories
from shardwright.engine.catalog import find_engine
from shardwright.layout.layout import Layout
from shardwright.model.spec import ModelSpec
from shardwright.model.weights import num_active_parameters

PROMPT_SHARE = 0.6
"""Share of the peak FLOP/s that the linear layers of prompts alone can take. The fastest rows, saturated
TensorRT-LLM with 2048 tokens in and 128 out, reach 0.58 (A100, fp16) and 0.52 (H200, fp8): TensorRT-LLM 0.17,
docs, perf-overview."""

READING_SHARE = 0.9
"""Share of a data sheet's bandwidth that reading the weights can take: the best rows reach 0.83."""

IN_FLIGHT = (0.85, 1.05)
"""Requests in flight by Little's law, over those that the client kept. A run of ten waves ends on a few
stragglers: 90 % of InferenceX's rows lie between 0.89 and 1."""

CORRECTED = "CONFIG CORRECTED"
"""In the notes of rows whose degrees were put right: what their notes still say of them is wrong."""

PREFIX_CACHED = ("h200_sxm/vllm/0.12.0/nvidia_Llama-3.1-8B-Instruct-FP8.csv",)
"""Runs of which several rows go beyond PROMPT_SHARE: all rows of a run share its prefix cache."""


LAUNCHED_ONE_BY_ONE = ("h200_sxm/vllm/0.12.0/Qwen_Qwen3-235B-A22B-FP8.csv",)
"""Runs whose steps take 34 to 60 ms, 0.37 ms a layer and more, whatever is in flight (4 to 48 requests on 1,
2 or 4 GPUs): a host that launches each kernel (eager mode), or experts' kernels that were not tuned."""


@dataclass(frozen=True)
class Doubt:
    """One rule. breaks: whether a case breaks it."""

    id: str
    sentence: str
    breaks: Callable[[Case], bool]


def doubts_of(case: Case) -> tuple[str, ...]:
    """The ids of the rules that the case breaks, in the table's order; () is a row to fit to."""
    return tuple(rule.id for rule in DOUBTS if rule.breaks(case))


def _weights_do_not_fit(case: Case) -> bool:
    """Seen: Qwen3-235B in fp8 on one H200, vLLM 0.12 (a lost attention DP)."""
    heaviest = _heaviest_bytes(case.model, case.layout, case.engine.id)
    return heaviest > case.cluster.device.memory_bytes


def _prompts_too_fast(case: Case) -> bool:
    """Seen: Llama-3.1-8B in fp8 on H200, vLLM 0.12 (a prefix cache); Qwen3-32B in NVFP4 on two B200 and two
    GB200 (replicas)."""
    if case.row.noted("source_file") in PREFIX_CACHED:
        return True
    needed = _prompts_per_s(case) * case.mean_input_tokens * _prompt_flop_per_token(case.model)
    return needed > PROMPT_SHARE * _peak(case.model, case.cluster.device) * case.cluster.num_gpus


def _tokens_too_fast(case: Case) -> bool:
    """Seen: LLM-Inference-Bench at 2048 + 2048 tokens, Qwen2-7B on H100 (TensorRT-LLM) and models of 2048
    positions on GH200: batches that ended before they made their tokens."""
    tpot_s = case.row.tpot_s
    if tpot_s is None and case.kind == "static" and case.row.e2e_ms is not None:
        tpot_s = case.row.e2e_ms / 1e3 / case.mean_output_tokens
    device = case.cluster.device
    read = _bytes_read_per_step(case.model, case.layout, case.engine.id)
    return tpot_s is not None and read / device.memory_bandwidth_bytes_per_s > READING_SHARE * tpot_s


def _launched_one_by_one(case: Case) -> bool:
    """Seen: Qwen3-235B in fp8 on H200, vLLM 0.12."""
    return case.row.noted("source_file") in LAUNCHED_ONE_BY_ONE


def _little(case: Case) -> bool:
    """Seen: InferenceX, runs with a stall of a minute (kernels compiled while they were measured)."""
    rate, cycle_s = case.row.output_tokens_per_s, _cycle_s(case)
    if case.kind != "closed" or rate is None or cycle_s is None or case.concurrency is None:
        return False
    low, high = IN_FLIGHT
    return not low <= rate / case.mean_output_tokens * cycle_s / case.concurrency <= high


def _degrees(case: Case) -> bool:
    """Seen: Qwen3-235B on H200, vLLM 0.12: moe_tp of 2 and 4 beside a TP of 1 and 2."""
    moe_tp, row = _number(case, "moe_tp"), case.row
    if case.model.experts is None or not moe_tp or CORRECTED in row.notes:
        return False
    return moe_tp * (row.ep or 1) != case.layout.attention_ranks


def _unstated_ep(case: Case) -> bool:
    """Seen: MoE on several GPUs in TensorRT-LLM 1.0, docs, perf-overview; EP over all of them is assumed."""
    return EP_UNSTATED in case.row.notes and case.layout.attention_ranks > 1


def _replicas(case: Case) -> bool:
    """Seen: dynamo runs in aiconfigurator, B200, GB200 and H100: the batch is a replica's, or that of an
    attention DP rank that nothing states."""
    batch = _number(case, "batch_size field")
    if not batch or case.concurrency is None or CORRECTED in case.row.notes:
        return False
    return batch * case.layout.dp * case.layout.copies != case.concurrency


def _speculation(case: Case) -> bool:
    """Seen: DeepSeek rows of aiconfigurator, of which 147 in 599 were found to be runs with multi-token
    prediction. Where nothing is known, a model without prediction layers of its own is taken to have none."""
    if case.row.spec_decode == "unknown":
        return any("prediction" in part for part in case.model.left_out)
    return case.row.spec_decode != "none"


DOUBTS = (
    Doubt("weights", "The weights do not fit in the memory of the stated GPUs.", _weights_do_not_fit),
    Doubt(
        "prompts", "Prompts are read faster than the GPUs can multiply: a prefix cache.", _prompts_too_fast
    ),
    Doubt("reading", "Tokens are made faster than the GPUs can read the weights.", _tokens_too_fast),
    Doubt("launches", "Steps take the same whatever is in flight: the host's time.", _launched_one_by_one),
    Doubt("little", "Throughput, latency and requests in flight break Little's law.", _little),
    Doubt("degrees", "The experts' TP x EP is not the TP x DP of attention.", _degrees),
    Doubt("ep", "The degree of expert parallelism is not stated.", _unstated_ep),
    Doubt(
        "replicas", "The stated batch is not the requests in flight: several replicas or ranks.", _replicas
    ),
    Doubt("speculation", "Speculative decoding is on, or may be.", _speculation),
)


def _number(case: Case, name: str) -> float | None:
    """A number in the notes; None where they have none."""
    try:
        number = float(case.row.noted(name) or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _cycle_s(case: Case) -> float | None:
    """What a request takes from its start to its last token."""
    ttft_s, tpot_s = case.row.ttft_s, case.row.tpot_s
    if ttft_s is None or tpot_s is None:
        return None
    return ttft_s + (case.mean_output_tokens - 1) * tpot_s


def _prompts_per_s(case: Case) -> float:
    """The most that the row shows in any way; 0 where it shows none."""
    row, cycle_s, shown = case.row, _cycle_s(case), [0.0]
    if case.kind == "static" and row.e2e_ms is not None:
        shown.append((case.concurrency or 1) / (row.e2e_ms / 1e3))
    if row.ttft_s is not None:
        shown.append(1 / row.ttft_s)
    if case.concurrency is not None and cycle_s is not None:
        shown.append(case.concurrency / cycle_s)
    if row.output_tokens_per_s is not None:
        shown.append(row.output_tokens_per_s / case.mean_output_tokens)
    return max(shown)


@cache
def _prompt_flop_per_token(model: ModelSpec) -> float:
    """Of the linear layers that a prompt token passes: two a parameter, without embedding and head."""
    outer = model.vocab * model.hidden * (1 if model.tied_embeddings else 2)
    return 2.0 * (num_active_parameters(model) - outer)


def _peak(model: ModelSpec, device: Device) -> float:
    """FLOP/s of the fastest format that the model's layers can be multiplied in."""
    named = {"fp4" if dtype == "mxfp4" else dtype for dtype in (model.weight_dtype, model.expert_dtype)}
    return max(flops for dtype, flops in device.peak_flops.items() if dtype in named | {"bf16", "fp16"})


@cache
def _heaviest_bytes(model: ModelSpec, layout: Layout, engine: str) -> float:
    """Weights on the fullest rank."""
    return max(float(np.max(row.weights)) for row in _memories(model, layout, engine))


@cache
def _bytes_read_per_step(model: ModelSpec, layout: Layout, engine: str) -> float:
    """What a token waits for at least: the weights of all stages, without experts, which may stay idle."""
    rows = _memories(model, layout, engine)
    return sum(float(np.max(row.stages * (row.dense_weights + row.head))) for row in rows)


def _memories(model: ModelSpec, layout: Layout, engine: str) -> tuple[RankMemory, ...]:
    """For their weights alone: these are the same on all devices and clusters. An Engine has no hash."""
    found = find_engine(engine)
    cluster = build_cluster(gpu="H100-SXM-80GB", nodes=1, gpus_per_node=1)[0]
    stages = layout.stage_layers or found.stages(model.num_layers, layout.pp)
    rows = rank_memories(model, found, cluster, layout, stages, sequences=1, tokens_per_sequence=1)
    return tuple(rows)
