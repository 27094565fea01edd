"""vLLM 0.33.0: EP is TP x DP of a stage, derived and not settable; DP shares the experts.

Read in the wheel of 0.33.0 from PyPI; files are named below `vllm/`.
"""

from functools import partial

import numpy as np

from shardwright.cluster.cluster import Cluster
from shardwright.engine.dialect import Dialect, Outcome, judge, spell
from shardwright.engine.engine import (
    Degrees,
    Engine,
    MemoryRule,
    Overlap,
    OwnSums,
    Rule,
    Scheduler,
    SchedulerLimits,
    Sources,
    SumLimit,
)
from shardwright.engine.rules import (
    attention_ranks,
    dense_model,
    dense_width,
    expert_each,
    expert_width,
    fits_cluster,
    folded_only,
    heads,
    kv_heads,
    layer_each,
    made_by,
    no_expert_copies,
    num_slots,
    redundant_need_ep,
)
from shardwright.engine.vllm_command import EXPERT_FLAG, FLAGS, LAUNCHER, flags
from shardwright.layout.layout import Layout
from shardwright.layout.stages import even_stages
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec
from shardwright.record import Size
from shardwright.units import GIB, MIB

VERSION = "0.33.0"
MOE_CONFIG = "vLLM 0.33.0, model_executor/layers/fused_moe/config.py:1106-1114,1226-1237"
LINEAR = "vLLM 0.33.0, model_executor/layers/linear.py:497,1065-1070"


def _derived_experts(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
    """Distance from the nearer of the two grids that the one switch allows."""
    if model.experts is None:
        return 0
    ranks = attention_ranks(degrees)
    switched_on = np.abs(np.subtract(degrees.ep, ranks)) + np.subtract(degrees.etp, 1)
    switched_off = np.abs(np.subtract(degrees.etp, ranks)) + np.subtract(degrees.ep, 1)
    nearer: Size = np.minimum(switched_on, switched_off)
    return nearer


def _even_slots(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
    return np.where(np.greater(degrees.redundant, 0), np.mod(num_slots(degrees, model), degrees.ep), 0)


RULES = (
    made_by(
        "NVIDIA",
        "AMD",
        source="vLLM 0.33.0, platforms/__init__.py:231-237",
        cure="engine: any; on Ascend vLLM needs the plugin vllm-ascend, whose limits are not modelled",
    ),
    folded_only("vLLM 0.33.0, distributed/parallel_state.py:2327-2337"),
    dense_model("vLLM 0.33.0, config/parallel.py:1191-1200; config/model.py:1498"),
    no_expert_copies(MOE_CONFIG),
    Rule(
        id="ep-derived",
        sentence="EP is TP x DP with ETP 1, or EP is 1 with ETP = TP x DP",
        source=MOE_CONFIG,
        breach=_derived_experts,
        unit="ranks",
        cure="EP = TP x DP, or experts sharded by width over TP x DP",
    ),
    heads("vLLM 0.33.0, config/model.py:1559"),
    kv_heads(LINEAR),
    dense_width(LINEAR),
    expert_width("vLLM 0.33.0, model_executor/layers/fused_moe/config.py:1352"),
    expert_each("vLLM 0.33.0, model_executor/layers/fused_moe/expert_map_manager.py:66-69"),
    redundant_need_ep("vLLM 0.33.0, config/parallel.py:569-591"),
    Rule(
        id="even-redundant",
        sentence="With redundant experts EP divides the number of expert slots",
        source="vLLM 0.33.0, model_executor/layers/fused_moe/layer.py:274",
        breach=_even_slots,
        unit="experts left over",
        cure="redundant experts up to a multiple of EP",
    ),
    layer_each("vLLM 0.33.0, distributed/utils.py:198-241"),
    fits_cluster(),
)
"""Without redundant experts EP need not divide them: the first ranks hold one more (expert_map_manager)."""


def _literal(stated: Stated) -> list[str]:
    argv = spell({name: getattr(stated, axis) for axis, name, _ in FLAGS})
    return [*argv, EXPERT_FLAG] if (stated.ep or 1) > 1 else argv


def _read(stated: Stated, model: ModelSpec) -> Outcome:
    tp, dp, pp, copies = stated.tp or 1, stated.dp or 1, stated.pp or 1, stated.copies or 1
    counted = f"PP x TP x DP = {pp} x {tp} x {dp} = {pp * tp * dp} GPUs"
    if model.experts is None:
        layout = Layout(tp=tp, pp=pp, copies=copies * dp)
        sentence = f"{counted}; DP of a dense model is {dp} independent copies"
        return Outcome(
            layout=layout, rule="dense", sentence=sentence, source="vLLM 0.33.0, config/parallel.py:1191-1200"
        )
    is_on, ranks = (stated.ep or 1) > 1, tp * dp
    grid = {"ep": ranks if is_on else 1, "etp": 1 if is_on else ranks, "edp": 1}
    derived = f"{'EP' if is_on else 'ETP'} is derived, TP x DP = {tp} x {dp} = {ranks}"
    wrong = [axis for axis, degree in grid.items() if (getattr(stated, axis) or degree) != degree]
    if wrong:
        named = ", ".join(
            f"{axis.upper()} would be {grid[axis]}, not {getattr(stated, axis)}" for axis in wrong
        )
        sentence = f"{derived}, and no flag sets it: {named}"
        return Outcome(layout=None, rule="ep-derived", sentence=sentence, source=MOE_CONFIG)
    layout = Layout(tp=tp, dp=dp, pp=pp, copies=copies, **grid)
    return Outcome(layout=layout, rule="ep-derived", sentence=f"{derived}; {counted}", source=MOE_CONFIG)


DIALECT = Dialect(
    engine="vllm",
    version=VERSION,
    source="vLLM 0.33.0, config/model.py:1498",
    rules=RULES,
    flags=flags,
    literal=_literal,
    read=_read,
)

MEASURED = (
    "llm-d docs/empirical-vllm-memory-results.md, H100, vLLM 0.11: memory outside torch, 0.13 GiB at TP1 and "
    "0.55 GiB at TP2. Sampler: inferred from the torch peaks of that table, 38.4 to 39.6 bytes a logit in "
    "five of six models"
)
"""What a GPU lost to the runtime and the sampler; of no one version."""

MEMORY = MemoryRule(
    utilisation=0.92,
    runtime_bytes_alone=0.13 * GIB,
    runtime_bytes_grouped=0.55 * GIB,
    sampler_bytes_per_logit=38.9,
    limits=(
        SchedulerLimits(from_bytes=160 * GIB, max_batched_tokens=16384, max_sequences=1024),
        SchedulerLimits(
            from_bytes=70 * GIB, max_batched_tokens=8192, max_sequences=1024, not_named=("a100", "gb10")
        ),
        SchedulerLimits(from_bytes=0, max_batched_tokens=2048, max_sequences=256),
    ),
    block_tokens=16,
    source=(
        "vLLM 0.33.0, config/cache.py:185,215 (utilisation, block), engine/arg_utils.py:2967-3010 (limits of "
        f"the server), v1/worker/gpu_worker.py:641-751 (budget). {MEASURED}"
    ),
)

TWO_BATCHES = (
    "dual-batch overlap needs DeepEP or NIXL, and has no PP with the current model runner; "
    "docs.vllm.ai/en/stable/design/dbo (DP + EP; hides dispatch and combine). Decode with DeepEP's "
    "low-latency kernels takes no SM: github.com/deepseek-ai/DeepEP, README, 2025"
)

OVERLAP = Overlap(
    micro_batches=(2,),
    exchange="deepep_low_latency",
    hides="exchanges",
    max_pp=1,
    needs_dp=True,
    vendor="NVIDIA",
    flags=("--all2all-backend", "deepep_low_latency", "--enable-dbo"),
    source=f"vLLM 0.33.0, config/vllm.py:2180: {TWO_BATCHES}",
)

OWN_SUMS = OwnSums(
    limits=(
        SumLimit(joined=False, up_to_bytes={2: 8 * MIB - 1}),
        *(
            SumLimit(named=name, up_to_bytes={2: 64 * MIB, 4: 32 * MIB, 6: 64 * MIB, 8: 64 * MIB})
            for name in ("H100", "H20", "H800")
        ),
        SumLimit(named="B200", up_to_bytes={2: 8 * MIB, 4: 32 * MIB, 6: 128 * MIB, 8: 128 * MIB}),
        SumLimit(named="B300", up_to_bytes={2: 4 * MIB, 4: 32 * MIB, 6: 32 * MIB, 8: 64 * MIB}),
        SumLimit(up_to_bytes=dict.fromkeys((2, 4, 6, 8), 8 * MIB - 1)),
    ),
    source=(
        "vLLM, distributed/device_communicators/all_reduce_utils.py at 00d618aab604 (custom and "
        "symmetric-memory sums by compute capability: the larger limit), custom_all_reduce.py (8 MiB "
        "elsewhere; two GPUs alone without NVLink among all)"
    ),
)

SCHEDULER = Scheduler(
    source=(
        "vLLM 0.33.0, v1/core/sched/scheduler.py (running requests first, then waiting ones, one budget of "
        "tokens; preempts the last and computes it anew), config/scheduler.py (enable_chunked_prefill)"
    )
)

VLLM_0_33 = Engine(
    id="vllm",
    version=VERSION,
    title="vLLM",
    homes=("folded",),
    rules=RULES,
    rank_order=("copy", "dp", "pp", "tp"),
    expert_order=("edp", "ep", "etp"),
    exchange="gather",
    stages=even_stages,
    memory=MEMORY,
    sources=Sources(
        ranks=(
            "vLLM 0.33.0, distributed/parallel_state.py:2149 (ExternalDP x DP x PP x PCP x TP), 2327-2337 "
            "(the EP group is all of a stage)"
        ),
        exchange="vLLM 0.33.0, config/parallel.py:220 (all2all_backend: allgather_reducescatter)",
        stages="vLLM 0.33.0, distributed/utils.py:198-241",
        flags="vLLM 0.33.0, config/parallel.py, engine/arg_utils.py",
    ),
    read=partial(judge, DIALECT),
    launcher=LAUNCHER,
    scheduler=SCHEDULER,
    overlap=OVERLAP,
    own_sums=OWN_SUMS,
)
