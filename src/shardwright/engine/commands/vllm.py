"""vllm serve of vLLM 0.33.0: its flags, and the layout that they make.

Read in the wheel of 0.33.0 from PyPI; files are named below `vllm/`.
"""

from collections.abc import Iterator

from shardwright.cluster.cluster import Cluster
from shardwright.engine.commands.flag import Flag
from shardwright.engine.commands.server import Refusal, Server, Settings, completed, degree
from shardwright.engine.dialect import Outcome
from shardwright.engine.vllm import DIALECT
from shardwright.layout.layout import Layout
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec

ARGS = "vLLM 0.33.0, engine/arg_utils.py"
PARALLEL = "vLLM 0.33.0, config/parallel.py"
LAYERS = "VLLM_PP_LAYER_PARTITION"

FLAGS = (
    Flag(names=("--model",), sets="model", kind="text", means="model", source=ARGS),
    Flag(names=("--tensor-parallel-size", "-tp"), sets="tp", means="TP", source=PARALLEL),
    Flag(names=("--pipeline-parallel-size", "-pp"), sets="pp", means="PP", source=PARALLEL),
    Flag(names=("--data-parallel-size", "-dp"), sets="dp", means="DP", source=PARALLEL),
    Flag(
        names=("--enable-expert-parallel", "-ep"),
        sets="expert_parallel",
        kind="switch",
        means="experts spread, EP = TP x DP",
        source=PARALLEL,
    ),
    Flag(
        names=("--decode-context-parallel-size", "-dcp", "--prefill-context-parallel-size", "-pcp"),
        sets="cp",
        kind="one",
        means="context parallelism",
        source=PARALLEL,
    ),
    Flag(names=("--nnodes", "-n"), sets="nodes", means="nodes", source=ARGS),
    Flag(
        names=("--max-model-len",),
        sets="max_model_len",
        kind="tokens",
        means="longest sequence, tokens",
        source="vLLM 0.33.0, config/model.py",
    ),
    Flag(
        names=("--gpu-memory-utilization",),
        sets="utilisation",
        kind="fraction",
        means="share of a GPU's memory",
        source="vLLM 0.33.0, config/cache.py",
    ),
    Flag(
        names=("--max-num-seqs",),
        sets="max_sequences",
        means="most sequences of a DP rank",
        source="vLLM 0.33.0, config/scheduler.py",
    ),
    Flag(
        names=("--max-num-batched-tokens",),
        sets="max_batched_tokens",
        kind="tokens",
        means="most tokens of a step",
        source="vLLM 0.33.0, config/scheduler.py",
    ),
    Flag(
        names=("--kv-cache-dtype",),
        sets="kv_dtype",
        kind="choice",
        means="KV cache in",
        source="vLLM 0.33.0, config/cache.py:44-67",
        choices={
            "float16": "fp16",
            "bfloat16": "bf16",
            **dict.fromkeys(("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc"), "fp8"),
        },
        others=(
            *("auto", "fp8_ds_mla", "nvfp4_ds_mla", "turboquant_k8v4", "turboquant_4bit_nc"),
            *("turboquant_k3v4_nc", "turboquant_3bit_nc", "octave_k3v4", "octave_k3v3"),
            *("octave_k3v3_compact", "ultraquant_4bit", "int4_per_token_head", "int8_per_token_head"),
            *("fp8_per_token_head", "nvfp4", "nvfp4_4over6"),
        ),
    ),
    Flag(
        names=("--quantization", "-q"),
        sets="weight_dtype",
        kind="choice",
        means="linear layers in",
        source="vLLM 0.33.0, model_executor/layers/quantization/__init__.py",
        choices={
            **dict.fromkeys(("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel"), "fp8"),
            "int8_per_channel_weight_only": "int8",
        },
        others=(
            *("awq", "auto_awq", "fbgemm_fp8", "fp_quant", "modelopt", "modelopt_fp4", "modelopt_mxfp8"),
            *("modelopt_mixed", "auto_gptq", "gptq", "gptq_marlin", "awq_marlin", "humming"),
            *("compressed-tensors", "experts_int8", "quark", "moe_wna16", "torchao", "inc", "mxfp4"),
            *("gpt_oss_mxfp4", "deepseek_v4_fp8", "online", "nvfp4_per_token", "mxfp8", "None", "none"),
        ),
    ),
    Flag(
        names=("--dtype",),
        sets="dtype",
        kind="choice",
        means="activations in",
        source="vLLM 0.33.0, config/model.py",
        choices={"float32": "fp32", "float": "fp32"},
        others=("auto", "half", "float16", "bfloat16"),
    ),
    Flag(
        names=("--all2all-backend",),
        sets="exchange",
        kind="choice",
        means="tokens to experts by",
        source="vLLM 0.33.0, config/parallel.py:45-60",
        choices={
            "deepep_high_throughput": "deepep_normal",
            "deepep_low_latency": "deepep_low_latency",
            "deepep_v2": "deepep",
            **dict.fromkeys(("mori_high_throughput", "mori_low_latency", "moonep", "nixl_ep"), "all_to_all"),
            **dict.fromkeys(("flashinfer_nvlink_two_sided", "flashinfer_nvlink_one_sided"), "all_to_all"),
            "flashinfer_all2allv": "all_to_all",
            **dict.fromkeys(("allgather_reducescatter", "naive", "pplx"), "gather"),
        },
    ),
    Flag(
        names=("--enable-dbo",),
        sets="overlap",
        kind="switch",
        means="two micro-batches overlap",
        source=PARALLEL,
    ),
    Flag(names=("--enable-eplb",), sets="eplb", kind="switch", means="experts rebalanced", source=PARALLEL),
    Flag(
        names=("--eplb-config.num_redundant_experts",),
        sets="redundant",
        kind="number",
        means="redundant experts",
        source=PARALLEL,
    ),
    Flag(
        names=("--enforce-eager",),
        sets="eager",
        kind="switch",
        means="no CUDA graphs",
        source="vLLM 0.33.0, config/model.py",
    ),
    Flag(
        names=(LAYERS,),
        sets="stage_layers",
        kind="layers",
        means="layers of the stages",
        source="vLLM 0.33.0, distributed/utils.py:198-241",
    ),
)

OVERLAPPING = ("deepep_low_latency", "deepep_high_throughput", "nixl_ep")


def _realise(settings: Settings, model: ModelSpec) -> tuple[Stated, Outcome]:
    tp, dp, pp = (degree(settings, name) for name in ("tp", "dp", "pp"))
    spread = bool(settings.get("expert_parallel")) and model.experts is not None
    stated = Stated(text="vllm serve", tp=tp, dp=dp, pp=pp, ep=tp * dp if spread else None)
    redundant = degree(settings, "redundant", 0) if settings.get("eplb") else 0
    return stated, completed(DIALECT.read(stated, model), settings, redundant, LAYERS)


def _refuses(settings: Settings, model: ModelSpec) -> Iterator[Refusal]:
    spread, ranks = settings.get("expert_parallel"), degree(settings, "tp") * degree(settings, "dp")
    if spread and model.experts is None:
        yield Refusal(
            "ep-without-experts",
            f"{model.name} has no experts to spread, and vLLM stops at --enable-expert-parallel",
            "leave out --enable-expert-parallel",
            "vLLM 0.33.0, config/model.py:1498",
        )
    if settings.get("eplb") and not (spread and ranks > 1):
        yield Refusal(
            "eplb-needs-ep",
            "--enable-eplb needs --enable-expert-parallel and more than one rank to spread experts over",
            "add --enable-expert-parallel with TP or DP above 1, or leave out --enable-eplb",
            "vLLM 0.33.0, config/parallel.py:563-582",
        )
    if settings.get("redundant") and not settings.get("eplb"):
        yield Refusal(
            "redundant-need-eplb",
            "num_redundant_experts is set, but EPLB is not switched on",
            "add --enable-eplb, or leave out num_redundant_experts",
            "vLLM 0.33.0, config/parallel.py:583-589",
        )
    if settings.get("overlap") and settings.get("exchange", "gather") == "gather":
        yield Refusal(
            "overlap-needs-exchange",
            f"--enable-dbo needs --all2all-backend {', '.join(OVERLAPPING)}",
            f"add --all2all-backend {OVERLAPPING[0]}, or leave out --enable-dbo",
            "vLLM 0.33.0, config/vllm.py:2180-2196",
        )
    nodes = degree(settings, "nodes")
    if ranks * degree(settings, "pp") % nodes:
        yield Refusal(
            "nodes-divide",
            f"--nnodes {nodes} must divide PP x TP x DP = {ranks * degree(settings, 'pp')} ranks",
            "as many ranks on every node",
            "vLLM 0.33.0, engine/arg_utils.py:2399-2413",
        )


def _copies_flag(layout: Layout, model: ModelSpec, cluster: Cluster) -> str:
    return "" if model.experts else "--data-parallel-size"


VLLM_SERVE = Server(
    dialect=DIALECT,
    entries=(
        ("vllm", "serve"),
        ("-m", "vllm.entrypoints.openai.api_server"),
        ("-m", "vllm.entrypoints.cli.main", "serve"),
    ),
    images=("vllm/vllm-openai",),
    flags=FLAGS,
    positional=True,
    dashes=True,
    abbreviates=True,
    negates=True,
    files=("--config",),
    file_wins=False,
    gone={"VLLM_ALL2ALL_BACKEND": "--all2all-backend"},
    realise=_realise,
    refuses=lambda settings, model: tuple(_refuses(settings, model)),
    copies_flag=_copies_flag,
    # v1/core/kv_cache_utils.py: a request of max_model_len must fit, else the engine stops.
    starts_short=False,
    spans=(
        *("nodes", "--distributed-executor-backend", "--data-parallel-backend", "-dpb"),
        *("--data-parallel-size-local", "-dpl", "--data-parallel-rank", "-dpn"),
        *("--data-parallel-start-rank", "-dpr"),
    ),
    sequences_of="attention rank",
)
