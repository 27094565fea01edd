"""trtllm-serve of TensorRT-LLM 1.2: its flags and the lines of its configuration file, and their layout.

Read in tensorrt_llm/commands/serve.py and tensorrt_llm/llmapi/llm_args.py at github.com/NVIDIA/TensorRT-LLM.
A line of the file is named like a flag here; the file overwrites what the command says.
"""

from shardwright.cluster.cluster import Cluster
from shardwright.engine.commands.flag import Flag
from shardwright.engine.commands.server import Server, Settings, completed, degree
from shardwright.engine.dialect import Outcome
from shardwright.engine.tensorrt_llm import DIALECT
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec

SERVE = "TensorRT-LLM 1.2, tensorrt_llm/commands/serve.py"
ARGS = "TensorRT-LLM 1.2, tensorrt_llm/llmapi/llm_args.py"

FLAGS = (
    Flag(names=("--model",), sets="model", kind="text", means="model", source=SERVE),
    Flag(names=("--tp_size", "--tensor_parallel_size"), sets="tp", means="GPUs of a stage", source=SERVE),
    Flag(names=("--pp_size", "--pipeline_parallel_size"), sets="pp", means="PP", source=SERVE),
    Flag(
        names=("--cp_size", "--context_parallel_size"),
        sets="cp",
        kind="one",
        means="context parallelism",
        source=SERVE,
    ),
    Flag(names=("--ep_size", "--moe_expert_parallel_size"), sets="ep", means="EP", source=SERVE),
    Flag(
        names=("--cluster_size", "--moe_cluster_parallel_size"),
        sets="cluster",
        kind="one",
        means="a cluster of experts",
        source=SERVE,
    ),
    Flag(names=("--moe_tensor_parallel_size",), sets="moe_tp", means="ETP", source=ARGS),
    Flag(
        names=("--enable_attention_dp",),
        sets="attention_dp",
        kind="switch",
        means="attention DP over the GPUs of a stage",
        source=ARGS,
    ),
    Flag(
        names=("--moe_config.load_balancer.num_slots",),
        sets="num_slots",
        means="expert slots",
        source=ARGS,
    ),
    Flag(
        names=("--pp_partition",),
        sets="stage_layers",
        kind="layers",
        means="layers of the stages",
        source=ARGS,
    ),
    Flag(
        names=("--max_seq_len",),
        sets="max_model_len",
        kind="tokens",
        means="longest sequence, tokens",
        source=SERVE,
    ),
    Flag(
        names=(
            "--kv_cache_free_gpu_memory_fraction",
            "--free_gpu_memory_fraction",
            "--kv_cache_config.free_gpu_memory_fraction",
        ),
        sets="utilisation",
        kind="fraction",
        means="share of the memory left free for KV",
        source=SERVE,
    ),
    Flag(
        names=("--max_batch_size",),
        sets="max_sequences",
        means="most sequences of an attention rank",
        source=SERVE,
    ),
    Flag(
        names=("--max_num_tokens",),
        sets="max_batched_tokens",
        kind="tokens",
        means="most tokens of a step",
        source=SERVE,
    ),
    Flag(
        names=("--kv_cache_config.dtype",),
        sets="kv_dtype",
        kind="choice",
        means="KV cache in",
        source=ARGS,
        choices={"fp8": "fp8", "float16": "fp16", "bfloat16": "bf16"},
        others=("auto", "nvfp4"),
    ),
)


def _realise(settings: Settings, model: ModelSpec) -> tuple[Stated, Outcome]:
    tp, pp = degree(settings, "tp"), degree(settings, "pp")
    attention_dp = bool(settings.get("attention_dp")) and tp > 1
    if attention_dp and model.experts is None:
        raise InputError("enable_attention_dp", True, "false: attention DP is modelled with experts only")
    own: dict[str, int] = {}
    if model.experts:
        own = {
            axis: degree(settings, name)
            for axis, name in (("ep", "ep"), ("etp", "moe_tp"))
            if name in settings
        }
    stated = Stated.model_validate(
        {"text": "trtllm-serve", "tp": tp, "dp": tp if attention_dp else 1, "pp": pp, **own}
    )
    num_experts = model.experts.num_experts if model.experts else 0
    redundant = max(0, degree(settings, "num_slots", num_experts) - num_experts)
    return _aimed(stated, tp), completed(DIALECT.read(stated, model), settings, redundant, "pp_partition")


def _aimed(stated: Stated, tp: int) -> Stated:
    """The degrees in our terms: attention DP takes all of tp_size, and TP is 1."""
    return stated.model_copy(update={"tp": 1}) if (stated.dp or 1) > 1 else stated


def _copies_flag(layout: Layout, model: ModelSpec, cluster: Cluster) -> str:
    return ""


TRTLLM_SERVE = Server(
    dialect=DIALECT,
    entries=(("trtllm-serve", "serve"), ("trtllm-serve",)),
    flags=FLAGS,
    positional=True,
    dashes=False,
    abbreviates=False,
    negates=False,
    files=("--config", "--extra_llm_api_options"),
    file_wins=True,
    gone={},
    realise=_realise,
    refuses=lambda settings, model: (),
    copies_flag=_copies_flag,
    starts_short=True,
    spans=None,  # one MPI world, which srun or mpirun makes
    sequences_of="attention rank",
)
