"""The server of SGLang 0.5.23: its flags, and the layout that they make.

Read in the wheel of 0.5.23 from PyPI; files are named below `sglang/srt/`.
"""

from collections.abc import Iterator

from shardwright.cluster.cluster import Cluster
from shardwright.engine.commands.flag import Flag
from shardwright.engine.commands.server import Refusal, Server, Settings, completed, degree
from shardwright.engine.dialect import Outcome
from shardwright.engine.sglang import DIALECT, realised
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec

PARALLEL = "SGLang 0.5.23, arg_groups/fields/parallel.py"
SCHEDULE = "SGLang 0.5.23, arg_groups/fields/schedule.py"
MODEL = "SGLang 0.5.23, arg_groups/fields/model.py"
MOE = "SGLang 0.5.23, arg_groups/fields/exec_.py"
LAYERS = "SGLANG_PP_LAYER_PARTITION"

FLAGS = (
    Flag(names=("--model-path", "--model"), sets="model", kind="text", means="model", source=MODEL),
    Flag(names=("--tp-size", "--tensor-parallel-size"), sets="tp", means="GPUs of a stage", source=PARALLEL),
    Flag(names=("--pp-size", "--pipeline-parallel-size"), sets="pp", means="PP", source=PARALLEL),
    Flag(
        names=("--dp-size", "--data-parallel-size"),
        sets="replicas",
        means="copies of the model",
        source=PARALLEL,
    ),
    Flag(
        names=("--attn-dp-size", "--attention-data-parallel-size"),
        sets="attn_dp",
        means="attention DP in a stage",
        source=PARALLEL,
    ),
    Flag(
        names=("--enable-dp-attention",),
        sets="dp_attention",
        kind="switch",
        means="--dp-size is attention DP (deprecated: --attn-dp-size)",
        source="SGLang 0.5.23, arg_groups/parallel_hook.py:45-61; server_args.py:419-431",
    ),
    Flag(names=("--ep-size", "--expert-parallel-size", "--ep"), sets="ep", means="EP", source=PARALLEL),
    Flag(
        names=("--moe-dp-size", "--moe-data-parallel-size"),
        sets="moe_dp",
        means="copies of the expert set",
        source=PARALLEL,
    ),
    Flag(
        names=(
            *("--attn-cp-size", "--attention-context-parallel-size"),
            *("--dcp-size", "--decode-context-parallel-size"),
        ),
        sets="cp",
        kind="one",
        means="context parallelism",
        source=PARALLEL,
    ),
    Flag(names=("--nnodes",), sets="nodes", means="nodes", source=PARALLEL),
    Flag(
        names=("--context-length",),
        sets="max_model_len",
        kind="tokens",
        means="longest sequence, tokens",
        source=MODEL,
    ),
    Flag(
        names=("--mem-fraction-static",),
        sets="utilisation",
        kind="fraction",
        means="share of a GPU's memory for weights and KV",
        source=SCHEDULE,
    ),
    Flag(
        names=("--max-running-requests",),
        sets="max_sequences",
        means="most sequences of a copy",
        source="SGLang 0.5.23, mem_cache/kv_cache_configurator.py:3117-3130",
    ),
    Flag(
        names=("--chunked-prefill-size",),
        sets="max_batched_tokens",
        kind="tokens",
        means="most tokens of a prefill step",
        source=SCHEDULE,
    ),
    Flag(
        names=("--kv-cache-dtype",),
        sets="kv_dtype",
        kind="choice",
        means="KV cache in",
        source="SGLang 0.5.23, arg_groups/fields/model.py:197-221",
        choices={"fp8_e5m2": "fp8", "fp8_e4m3": "fp8", "bf16": "bf16", "bfloat16": "bf16"},
        others=("auto", "mxfp8", "nvfp4", "fp4_mx_block16"),
    ),
    Flag(
        names=("--quantization",),
        sets="weight_dtype",
        kind="choice",
        means="linear layers in",
        source="SGLang 0.5.23, arg_groups/choices.py:32-67",
        choices={"fp8": "fp8", "w8a8_fp8": "fp8"},
        others=(
            *("awq", "mxfp8", "gptq", "gptq_marlin", "awq_marlin", "bitsandbytes", "gguf", "modelopt"),
            *("modelopt_fp8", "modelopt_fp4", "nvfp4_online", "modelopt_mixed", "petit_nvfp4", "w8a8_int8"),
            *("moe_wna16", "w4afp8", "mxfp4", "auto-round", "auto-round-int8", "compressed-tensors"),
            *("modelslim", "mxfp_w4a8", "quark", "quark_int4fp8_moe", "quark_mxfp4", "mlx_q4", "mlx_q8"),
            *("unquant", "humming"),
        ),
    ),
    Flag(
        names=("--dtype",),
        sets="dtype",
        kind="choice",
        means="activations in",
        source=MODEL,
        choices={"float32": "fp32", "float": "fp32"},
        others=("auto", "half", "float16", "bfloat16"),
    ),
    Flag(
        names=("--moe-a2a-backend",),
        sets="exchange",
        kind="choice",
        means="tokens to experts by",
        source="SGLang 0.5.23, arg_groups/fields/exec_.py:836-850; arg_groups/overrides.py:1578-1620",
        choices={
            "none": "gather",
            **dict.fromkeys(("deepep", "deepep_v2"), "deepep"),
            **dict.fromkeys(("mooncake", "nixl", "mori", "pplx"), "all_to_all"),
            **dict.fromkeys(("flashinfer", "megamoe", "flashinfer_megamoe", "ascend_fuseep"), "all_to_all"),
        },
        others=("ascend_tp",),
    ),
    Flag(
        names=("--enable-two-batch-overlap",),
        sets="overlap",
        kind="switch",
        means="two micro-batches overlap",
        source=MOE,
    ),
    Flag(names=("--enable-eplb",), sets="eplb", kind="switch", means="experts rebalanced", source=MOE),
    Flag(
        names=("--ep-num-redundant-experts",),
        sets="redundant",
        kind="number",
        means="redundant experts",
        source=MOE,
    ),
    Flag(
        names=("--disable-cuda-graph",),
        sets="eager",
        kind="switch",
        means="no CUDA graphs",
        source="SGLang 0.5.23, server_args.py:410-417",
    ),
    Flag(
        names=(LAYERS,),
        sets="stage_layers",
        kind="layers",
        means="layers of the stages",
        source="SGLang 0.5.23, distributed/utils.py:110-152",
    ),
)

DP_RULE = "SGLang 0.5.23, arg_groups/parallel_hook.py:283-292"


def _degrees(settings: Settings) -> tuple[int, int]:
    """(attention DP in a stage, copies): the deprecated switch makes the first out of the second."""
    attn_dp, replicas = degree(settings, "attn_dp"), degree(settings, "replicas")
    return (replicas, 1) if settings.get("dp_attention") and attn_dp == 1 else (attn_dp, replicas)


def _realise(settings: Settings, model: ModelSpec) -> tuple[Stated, Outcome]:
    tp, pp, moe_dp = (degree(settings, name) for name in ("tp", "pp", "moe_dp"))
    attn_dp, replicas = _degrees(settings)
    if attn_dp > 1 and model.experts is None:
        raise InputError("--attn-dp-size", attn_dp, "1: attention DP is modelled with experts only")
    # overrides.py:1609-1620: a back end that spans the EP group makes it all of the stage.
    gathered = settings.get("exchange", "gather") == "gather"
    ep = degree(settings, "ep") if gathered else tp
    given = {"ep": ep if "ep" in settings or ep > 1 else None, "edp": moe_dp if moe_dp > 1 else None}
    own = given if model.experts else {}
    attention = tp // attn_dp if tp % attn_dp == 0 else tp
    stated = Stated.model_validate(
        {"text": "sglang serve", "tp": attention, "pp": pp, "dp": attn_dp * replicas, **own}
    )
    outcome = realised(tp=tp, attn_dp=attn_dp, ep=ep, moe_dp=moe_dp, pp=pp, replicas=replicas, model=model)
    return stated, completed(outcome, settings, degree(settings, "redundant", 0), LAYERS)


def _refuses(settings: Settings, model: ModelSpec) -> Iterator[Refusal]:
    attn_dp, replicas = _degrees(settings)
    if attn_dp > 1 and replicas > 1:
        yield Refusal(
            "dp-both",
            f"--dp-size {replicas} (copies) and --attn-dp-size {attn_dp} (in a stage) exclude each other",
            "one of the two",
            DP_RULE,
        )
    if replicas > 1 and degree(settings, "nodes") > 1:
        yield Refusal(
            "copies-one-node",
            f"--dp-size {replicas} starts copies on one node only, and --nnodes is {settings['nodes']}",
            "--attn-dp-size, or one command a copy",
            "SGLang 0.5.23, arg_groups/validation_hook.py:199",
        )
    ranks = degree(settings, "tp") * degree(settings, "pp")
    if ranks % degree(settings, "nodes"):
        yield Refusal(
            "nodes-divide",
            f"--nnodes {settings['nodes']} must divide tp_size x pp_size = {ranks} GPUs",
            "as many GPUs on every node",
            "SGLang 0.5.23, arg_groups/validation_hook.py",
        )


def _copies_flag(layout: Layout, model: ModelSpec, cluster: Cluster) -> str:
    return "--dp-size" if layout.dp == 1 and layout.num_gpus <= cluster.gpus_per_node else ""


SGLANG_SERVE = Server(
    dialect=DIALECT,
    entries=(("sglang", "serve"), ("-m", "sglang.launch_server")),
    flags=FLAGS,
    positional=True,
    dashes=False,
    abbreviates=True,
    negates=False,
    files=("--config",),
    file_wins=False,
    gone={"--enable-ep-moe": "--ep-size", "--enable-deepep-moe": "--moe-a2a-backend deepep"},
    realise=_realise,
    refuses=lambda settings, model: tuple(_refuses(settings, model)),
    copies_flag=_copies_flag,
    starts_short=True,
    spans=("nodes",),
    sequences_of="copy",
)
