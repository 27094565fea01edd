"""SGLang 0.5.23: tp_size is the number of GPUs of a stage; attention DP and EP divide it.

Read in the wheel of 0.5.23 from PyPI; files are named below `sglang/srt/`.
"""

from functools import partial

from shardwright.engine.dialect import Dialect, Outcome, judge, spell
from shardwright.engine.engine import (
    Engine,
    MemoryRule,
    Overlap,
    OwnSums,
    Scheduler,
    SchedulerLimits,
    Sources,
    SumLimit,
)
from shardwright.engine.rules import (
    attention_ranks,
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
from shardwright.engine.sglang_command import LAUNCHER, flags
from shardwright.engine.sglang_reserve import ACTIVATION_BYTES_PER_TOKEN, reserved_bytes
from shardwright.layout.layout import Layout
from shardwright.layout.stages import first_stages
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec
from shardwright.units import GIB, MIB

VERSION = "0.5.23"
WIDTHS = "SGLang 0.5.23, runtime_context.py:73,137-160,295-313"
LINEAR = "SGLang 0.5.23, layers/linear.py:483,1139-1144"

RULES = (
    made_by(
        "NVIDIA",
        "AMD",
        source="SGLang 0.5.23, platforms/__init__.py:75-102",
        cure="engine: any; on Ascend SGLang needs kernels of its own, whose limits are not modelled",
    ),
    folded_only("SGLang 0.5.23, distributed/parallel_state.py:2646"),
    dense_model("SGLang 0.5.23, arg_groups/fields/parallel.py (--dp-size: replicas of the model)"),
    # moe_dp_size above 1 is asserted to equal attn_cp_size, and context parallelism is not modelled.
    no_expert_copies("SGLang 0.5.23, arg_groups/parallel_hook.py:189-191"),
    folded_product(WIDTHS),
    heads(LINEAR),
    kv_heads(LINEAR),
    dense_width(LINEAR, ranks=attention_ranks),
    expert_width("SGLang 0.5.23, layers/moe/fused_moe_triton/layer.py:427"),
    even_experts("SGLang 0.5.23, layers/moe/fused_moe_triton/layer.py:414; eplb/expert_location.py:256"),
    redundant_need_ep("SGLang 0.5.23, eplb/expert_location.py"),
    layer_each("SGLang 0.5.23, distributed/utils.py:110-152"),
    fits_cluster(),
)


def last_stages(num_layers: int, pp: int) -> tuple[int, ...]:
    """Layers of each stage; what is left over goes to the last stages."""
    return first_stages(num_layers, pp)[::-1]


def _literal(stated: Stated) -> list[str]:
    degrees = {
        "--tp-size": stated.tp,
        "--ep-size": stated.ep,
        "--pp-size": stated.pp,
        "--dp-size": stated.dp,
        "--moe-dp-size": stated.edp,
    }
    return spell(degrees)


def _read(stated: Stated, model: ModelSpec) -> Outcome:
    return realised(
        tp=stated.tp or 1,
        attn_dp=1,
        ep=stated.ep or 1,
        moe_dp=stated.edp or 1,
        pp=stated.pp or 1,
        replicas=stated.dp or 1,
        copies=stated.copies or 1,
        moe_tp=stated.etp,
        model=model,
    )


def realised(
    *,
    tp: int,
    attn_dp: int,
    ep: int,
    moe_dp: int,
    pp: int,
    replicas: int,
    copies: int = 1,
    moe_tp: int | None = None,
    model: ModelSpec,
) -> Outcome:
    """What the server makes of its own degrees: tp_size = attn_dp x attn_tp = ep x moe_dp x moe_tp.

    moe_tp: what somebody takes the derived one to be. Attention DP needs a model with experts here.
    """
    counted = (
        f"tp_size is all GPUs of a stage and dp_size counts replicas: {replicas} x {pp} x {tp} = "
        f"{replicas * pp * tp} GPUs"
    )
    copies *= replicas
    if model.experts is None:
        return Outcome(
            layout=Layout(tp=tp, pp=pp, copies=copies), rule="moe-grid", sentence=counted, source=WIDTHS
        )
    etp = tp // ep // moe_dp
    named = f"moe_tp = {tp} // {ep}" + (f" // {moe_dp}" if moe_dp > 1 else "") + f" = {etp}"
    if etp * ep * moe_dp != tp:
        sentence = (
            f"{named}, but tp_size {tp} must be ep_size x moe_dp_size x moe_tp = {ep} x {moe_dp} x {etp}"
        )
        return Outcome(layout=None, rule="moe-grid", sentence=sentence, source=WIDTHS)
    if moe_tp not in (None, etp):
        sentence = f"{named} is derived, not {moe_tp}"
        return Outcome(layout=None, rule="moe-grid", sentence=sentence, source=WIDTHS)
    if tp % attn_dp:
        sentence = f"tp_size {tp} must be attn_dp_size x attn_tp, but {attn_dp} does not divide it"
        return Outcome(layout=None, rule="attention-grid", sentence=sentence, source=WIDTHS)
    if attn_dp > 1:
        counted += f", attention in each stage DP {attn_dp} x TP {tp // attn_dp}"
    layout = Layout(tp=tp // attn_dp, dp=attn_dp, pp=pp, ep=ep, etp=etp, edp=moe_dp, copies=copies)
    return Outcome(layout=layout, rule="moe-grid", sentence=counted, source=WIDTHS)


DIALECT = Dialect(
    engine="sglang",
    version=VERSION,
    source=WIDTHS,
    rules=RULES,
    flags=flags,
    literal=_literal,
    read=_read,
)

MEMORY = MemoryRule(
    utilisation=1.0,
    stated_of="static",
    sampler_bytes_per_logit=0.0,
    activation_bytes_per_token=ACTIVATION_BYTES_PER_TOKEN,
    reserve=reserved_bytes,
    limits=(
        SchedulerLimits(from_bytes=160 * GIB, max_batched_tokens=16384, max_sequences=2048),
        SchedulerLimits(from_bytes=60 * GIB, max_batched_tokens=8192, max_sequences=2048),
        SchedulerLimits(from_bytes=20 * GIB, max_batched_tokens=4096, max_sequences=2048),
        SchedulerLimits(from_bytes=0, max_batched_tokens=2048, max_sequences=2048),
    ),
    block_tokens=1,
    source=(
        "SGLang 0.5.23, arg_groups/memory_hook.py:78-399, see engine/sglang_reserve.py. max_sequences: the "
        "least of mem_cache/kv_cache_configurator.py:3124. Page of 1 token: an assumption, attention back "
        "ends choose 1 to 128"
    ),
)

OVERLAP = Overlap(
    micro_batches=(2,),
    exchange="deepep",
    hides="exchanges",
    max_pp=1,
    needs_dp=True,
    vendor="NVIDIA",
    flags=("--moe-a2a-backend", "deepep", "--enable-two-batch-overlap"),
    source=(
        "SGLang 0.5.23, batch_overlap/two_batch_overlap.py; server_args.py: two-batch overlap needs a back "
        "end for the exchange; PP turns overlapping off (arg_groups/validation_hook.py:119-123). Decode with "
        "DeepEP's low-latency kernels takes no SM: github.com/deepseek-ai/DeepEP, README, 2025"
    ),
)

OWN_SUMS = OwnSums(
    limits=(
        SumLimit(joined=False, up_to_bytes={2: 8 * MIB - 1}),
        SumLimit(named="A100", up_to_bytes=dict.fromkeys((2, 4, 6, 8), 8 * MIB)),
        SumLimit(up_to_bytes=dict.fromkeys(range(2, 9), 16 * MIB)),
    ),
    source=(
        "SGLang, distributed/device_communicators/custom_all_reduce_v2.py at 08d6c0169a56 (16 MiB, 2 to 8 "
        "GPUs with NVLink), custom_all_reduce.py (8 MiB: the older kernels, which A100 and PCIe run)"
    ),
)

SGLANG_0_5_23 = Engine(
    id="sglang",
    kernels="sglang",
    version=VERSION,
    title="SGLang",
    homes=("folded",),
    rules=RULES,
    rank_order=("copy", "pp", "dp", "tp"),
    expert_order=("edp", "ep", "etp"),
    exchange="gather",
    stages=last_stages,
    memory=MEMORY,
    sources=Sources(
        ranks=(
            "SGLang 0.5.23, runtime_context.py:78-130 (rank = tp_size x pp_rank + tp_rank, attention "
            "(dp, cp, tp), moe_tp adjacent); distributed/parallel_state.py:2687-2968"
        ),
        exchange=(
            "SGLang 0.5.23, arg_groups/fields/exec_.py:836 (moe_a2a_backend: none; DeepEP and its like force "
            "EP = tp_size)"
        ),
        stages="SGLang 0.5.23, distributed/utils.py:136-148",
        flags="SGLang 0.5.23, arg_groups/fields/parallel.py, exec_.py",
    ),
    read=partial(judge, DIALECT),
    launcher=LAUNCHER,
    scheduler=Scheduler(
        mixes=False,
        reserve=0.7,
        source=(
            "SGLang 0.5.23, managers/scheduler.py (a batch of prompts before the next decode), "
            "managers/schedule_policy.py (PrefillAdder), server_args.py (enable_mixed_chunk off), "
            "environ.py: SGLANG_INIT_NEW_TOKEN_RATIO 0.7, which falls with time"
        ),
    ),
    overlap=OVERLAP,
    own_sums=OWN_SUMS,
)
