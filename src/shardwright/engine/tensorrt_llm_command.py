"""What starts trtllm-serve of TensorRT-LLM 1.2: flags, and lines of a configuration file for the rest.

Read at github.com/NVIDIA/TensorRT-LLM; files are named below `tensorrt_llm/`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from shardwright.engine.dialect import spell
from shardwright.engine.launcher import Launcher
from shardwright.engine.start import Say, Spoken, Start, exchange_name, spoken
from shardwright.layout.layout import Layout

FILE = "trtllm.yaml"

ATTENTION_DP = "enable_attention_dp: true"
"""A line of the file given by --config; trtllm-serve has no flag for it."""

SERVE, ARGS = "commands/serve.py", "llmapi/llm_args.py"

ROWS = (
    Say(flag="--max_seq_len", value=lambda start: start.max_model_len, source=SERVE),
    Say(flag="--max_batch_size", value=lambda start: start.tuning.max_sequences, source=SERVE),
    Say(flag="--max_num_tokens", value=lambda start: start.tuning.max_batched_tokens, source=SERVE),
    Say(
        flag="--gpus_per_node",
        value=lambda start: (
            start.layout.gpus_per_copy // start.place.nodes if start.place.nodes > 1 else None
        ),
        source=SERVE,
    ),
    Say(flag="--host", value=lambda start: start.place.host, source=SERVE),
    Say(flag="--port", value=lambda start: start.place.port, source=SERVE),
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A key of the configuration file, its parents before it, and what it says; None: it is left out."""

    key: tuple[str, ...]
    value: Callable[[Start], Any]
    source: str


def _num_slots(start: Start) -> int | None:
    experts, redundant = start.model.experts, start.layout.redundant
    return experts.num_experts + redundant if experts is not None and redundant else None


LINES = (
    Line(key=("enable_attention_dp",), value=lambda start: start.layout.dp > 1 or None, source=ARGS),
    Line(
        key=("pp_partition",),
        value=lambda start: list(start.layout.stage_layers) or None,
        source=f"{ARGS}; mapping.py, Mapping.pp_layers",
    ),
    Line(
        key=("dtype",),
        value=lambda start: "float32" if start.model.weight_dtype == "fp32" else None,
        source=ARGS,
    ),
    Line(
        key=("kv_cache_config", "dtype"),
        value=lambda start: "fp8" if start.model.kv_dtype == "fp8" else None,
        source=f"{ARGS}, KvCacheConfig",
    ),
    Line(
        key=("kv_cache_config", "free_gpu_memory_fraction"),
        value=lambda start: start.tuning.utilisation,
        source=f"{ARGS}, KvCacheConfig",
    ),
    Line(
        key=("moe_config", "backend"),
        value=lambda start: "WIDEEP" if start.layout.redundant else None,
        source=f"{ARGS}, MoeConfig; examples/wide_ep/README.md (expert slots need it)",
    ),
    Line(
        key=("moe_config", "load_balancer", "num_slots"),
        value=_num_slots,
        source=f"{ARGS}, MoeLoadBalancerConfig",
    ),
    Line(
        key=("moe_config", "load_balancer", "layer_updates_per_iter"),
        value=lambda start: 1 if start.layout.redundant else None,
        source="examples/wide_ep/README.md (1: experts are moved while it serves)",
    ),
)


def degree_flags(layout: Layout) -> list[str]:
    """The flags that make one copy of `layout`, but for attention DP, which is a line of the file."""
    degrees = {"--tp_size": layout.attention_ranks, "--pp_size": layout.pp, "--ep_size": layout.ep}
    return spell(degrees, least=2)


def flags(layout: Layout) -> list[str]:
    """The arguments that make one copy of `layout`, a line of the configuration file in brackets."""
    return [*degree_flags(layout), *([f"({ATTENTION_DP})"] if layout.dp > 1 else [])]


def config(start: Start) -> dict[str, Any]:
    """The lines of the configuration file."""
    said: dict[str, Any] = {}
    for line in LINES:
        value = line.value(start)
        if value is not None:
            inner = said
            for parent in line.key[:-1]:
                inner = inner.setdefault(parent, {})
            inner[line.key[-1]] = value
    return said


def speak(start: Start) -> Spoken:
    """The command of a copy; over several nodes that of every rank of its MPI world.

    Raises InputError for an exchange that it is not told of.
    """
    exchange_name(start, {"gather": ""}, "TensorRT-LLM")
    lines = config(start)
    files = {FILE: yaml.safe_dump(lines, sort_keys=False)} if lines else {}
    entry = ("trtllm-llmapi-launch",) if start.place.nodes > 1 else ()
    words = [*degree_flags(start.layout), *spoken(ROWS, start)]
    argv = (*entry, "trtllm-serve", start.model.name, *words, *(("--config", FILE) if files else ()))
    return Spoken(argv=argv, files=files)


LAUNCHER = Launcher(
    speak=speak,
    # MPI numbers ranks node by node; mapping.py takes any number of them a node.
    spans=lambda layout, nodes: "",
    world="mpi",
    health="/health",
    first_port=8000,
    source=f"{SERVE} (port); serve/openai_server.py (/health); llmapi/trtllm-llmapi-launch",
)
