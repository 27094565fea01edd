"""What starts the server of SGLang 0.5.23.

Read in the wheel of 0.5.23 from PyPI; files are named below `sglang/srt/`.
"""

from shardwright.engine.dialect import spell
from shardwright.engine.engine import ExchangeMode
from shardwright.engine.launcher import Launcher
from shardwright.engine.start import Say, Spoken, Start, exchange_name, online_name, spoken, stage_layers
from shardwright.layout.layout import Layout

RENDEZVOUS_PORT = 29500
"""Free to choose; the one that NVIDIA Dynamo's operator injects (backend_sglang.go)."""

LAYERS = "SGLANG_PP_LAYER_PARTITION"

EXCHANGES: dict[ExchangeMode, str] = {"gather": "none", "deepep": "deepep", "deepep_normal": "deepep"}
EXCHANGES["deepep_low_latency"] = "deepep"

DEEPEP_MODES: dict[ExchangeMode, str] = {
    "deepep_normal": "normal",
    "deepep_low_latency": "low_latency",
}
"""Both kernels, by the phase, is the default of --deepep-mode."""

ONLINE = {"fp8": "fp8"}

PARALLEL = "arg_groups/fields/parallel.py"
MODEL = "arg_groups/fields/model.py"
SCHEDULE = "arg_groups/fields/schedule.py"
EXECUTION = "arg_groups/fields/exec_.py"
SERVING = "arg_groups/fields/serving.py"


def _full_precision(start: Start) -> str | None:
    """SGLang casts a checkpoint of 32 bits to 16 unless it is told not to."""
    return "float32" if start.model.weight_dtype == "fp32" else None


def _sequences_of_copy(start: Start) -> int | None:
    """The limit is of all attention ranks of a copy together."""
    limit = start.tuning.max_sequences
    return None if limit is None else limit * start.layout.dp


def _of_several(start: Start, value: int | str) -> int | str | None:
    return value if start.place.nodes > 1 else None


ROWS = (
    Say(flag="--context-length", value=lambda start: start.max_model_len, source=MODEL),
    Say(flag="--dtype", value=_full_precision, source=MODEL),
    Say(
        flag="--quantization",
        value=lambda start: online_name(start, ONLINE),
        source="arg_groups/choices.py:32-67",
    ),
    Say(
        flag="--kv-cache-dtype",
        value=lambda start: "fp8_e4m3" if start.model.kv_dtype == "fp8" else None,
        source="arg_groups/fields/model.py:197-221",
    ),
    Say(flag="--mem-fraction-static", value=lambda start: start.tuning.utilisation, source=SCHEDULE),
    Say(
        flag="--max-running-requests",
        value=_sequences_of_copy,
        source="mem_cache/kv_cache_configurator.py:3117-3130",
    ),
    Say(
        flag="--chunked-prefill-size",
        value=lambda start: start.tuning.max_batched_tokens,
        source=SCHEDULE,
    ),
    Say(
        flag="--moe-a2a-backend",
        value=lambda start: exchange_name(start, EXCHANGES, "SGLang"),
        source=EXECUTION,
    ),
    Say(
        flag="--deepep-mode",
        value=lambda start: DEEPEP_MODES.get(start.tuning.exchange) if start.tuning.exchange else None,
        source=EXECUTION,
    ),
    Say(flag="--enable-two-batch-overlap", value=lambda start: start.overlap, source=EXECUTION),
    Say(
        flag="--dist-init-addr",
        value=lambda start: _of_several(start, f"{start.place.head}:{RENDEZVOUS_PORT}"),
        source="server_args.py",
    ),
    Say(flag="--nnodes", value=lambda start: _of_several(start, start.place.nodes), source=PARALLEL),
    Say(flag="--node-rank", value=lambda start: _of_several(start, start.place.node_rank), source=PARALLEL),
    Say(flag="--host", value=lambda start: start.place.host, source=SERVING),
    Say(flag="--port", value=lambda start: start.place.port, source=SERVING),
)


def flags(layout: Layout) -> list[str]:
    """The arguments that make one copy of `layout`."""
    degrees = {
        "--tp-size": layout.attention_ranks,
        "--attn-dp-size": layout.dp,
        "--ep-size": layout.ep,
        "--pp-size": layout.pp,
        "--ep-num-redundant-experts": layout.redundant,
    }
    argv = spell(degrees, least=2)
    return [*argv, "--enable-eplb"] if layout.redundant else argv


def speak(start: Start) -> Spoken:
    """One process of a copy; the one on the first node serves. Raises InputError for an exchange it lacks."""
    entry = ("python", "-m", "sglang.launch_server", "--model-path", start.model.name)
    words = [*flags(start.layout), *spoken(ROWS, start)]
    return Spoken(argv=(*entry, *words), environment=stage_layers(LAYERS, start.layout))


def spans(layout: Layout, nodes: int) -> str:
    """Why SGLang does not start a copy over so many nodes: a node holds whole stages, or a part of one.

    Source: entrypoints/engine.py:2062-2075.
    """
    if layout.pp % nodes and nodes % layout.pp:
        return f"{layout.pp} stages and {nodes} nodes: neither number divides the other"
    if nodes > layout.pp and layout.attention_ranks % (nodes // layout.pp):
        return f"a stage of {layout.attention_ranks} GPUs does not divide over {nodes // layout.pp} nodes"
    return ""


LAUNCHER = Launcher(
    speak=speak,
    spans=spans,
    quantises=tuple(ONLINE),
    # With attention DP a server takes the ports from its own + 233 on (server_args.py, PortArgs).
    own_address="SGLANG_HOST_IP",
    health="/health",
    first_port=30000,
    port_step=10,
    source="entrypoints/http_server.py (/health); arg_groups/fields/serving.py (port); utils/network.py:417",
)
