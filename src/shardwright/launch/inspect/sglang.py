"""SGLang's server, read in the wheel of sglang 0.5.23 from PyPI; files are named below `sglang/srt/`.

Ranks are the values of the label `dp_rank`, which is missing without data parallelism.
"""

from shardwright.launch.inspect.inspection import Said, SaidCache, SaidLayout
from shardwright.launch.inspect.metrics import LARGEST, Samples
from shardwright.launch.inspect.served import Cards, Names, Served, names_of, number, share, text, within
from shardwright.launch.inspect.site import Site
from shardwright.units import GIB

COLLECTOR = "SGLang 0.5.23, observability/metrics_collector.py"
SOURCES = {
    "server_info": "SGLang 0.5.23, entrypoints/http_server.py:853-893; utils/common.py:3584-3593",
    "state": "SGLang 0.5.23, managers/scheduler_components/internal_state.py:45-90",
    "layout": "SGLang 0.5.23, arg_groups/parallel_hook.py:39-63; arg_groups/fields/parallel.py:45-289",
    "models": "SGLang 0.5.23, entrypoints/openai/protocol.py:87-96",
    "metrics": "SGLang 0.5.23, entrypoints/http_server.py:314; utils/common.py:2843-2851",
    "figures": f"{COLLECTOR}:364-455,1826-2072",
}


def said(site: Site, cards: Cards, samples: Samples) -> Said:
    """All of it from the server's arguments, as they were resolved, and its schedulers' state."""
    info = site.document("/server_info")
    if info is None:
        info = site.document("/get_server_info")  # its name before 0.5.23, and still answered
    states = within(info, "internal_states")
    first = states[0] if isinstance(states, list) and states else None
    loaded_gib = within(first, "memory_usage", "weight")
    return Said(
        version=text(info, "version"),
        models=names_of(cards) or tuple(filter(None, (text(info, "served_model_name"),))),
        layout=_layout(info),
        cache=_cache(info, first),
        dtype=text(info, "dtype"),
        quantisation=text(info, "quantization"),
        max_model_len=number(cards[0], "max_model_len") if cards else number(info, "context_length"),
        max_sequences=number(first, "effective_max_running_requests_per_dp"),
        max_batched_tokens=number(info, "chunked_prefill_size"),
        memory_share=share(info, "mem_fraction_static"),
        weight_bytes=_bytes(loaded_gib) if isinstance(loaded_gib, int | float) else None,
    )


def _bytes(gib: float) -> float | None:
    return gib * GIB if 0 < gib < LARGEST else None


def _layout(info: object) -> SaidLayout:
    """tp_size counts all GPUs of a stage; attention DP is a part of them, by its old name or its new."""
    gpus, attn_dp = number(info, "tp_size"), number(info, "attn_dp_size")
    replicas = number(info, "dp_size")
    if not gpus:
        return SaidLayout()
    if (attn_dp or 1) == 1 and within(info, "enable_dp_attention") is True:
        attn_dp, replicas = replicas, 1
    attn_dp = attn_dp or 1
    return SaidLayout(
        tp=gpus // attn_dp,
        dp=attn_dp,
        pp=number(info, "pp_size"),
        ep=number(info, "ep_size"),
        stage_gpus=gpus,
        copies=replicas,
    )


def _cache(info: object, state: object) -> SaidCache:
    tokens = number(state, "memory_usage", "token_capacity") or number(info, "max_total_num_tokens")
    page = number(info, "page_size")
    return SaidCache(
        blocks=tokens // page if tokens and page else None,
        block_tokens=page,
        tokens=tokens,
        dtype=text(info, "kv_cache_dtype"),
    )


SGLANG = Served(
    engine="sglang",
    title="SGLang",
    owner="sglang",
    prefix="sglang:",
    metrics="/metrics",
    why_not="which needs --enable-metrics",
    names=Names(
        rank="dp_rank",
        running="sglang:num_running_reqs",
        waiting="sglang:num_queue_reqs",
        kv_usage="sglang:token_usage",
        ttft="sglang:time_to_first_token_seconds",
        tpot="sglang:request_time_per_output_token_seconds",
        itl="sglang:inter_token_latency_seconds",
        prompt_tokens="sglang:prompt_tokens_total",
        output_tokens="sglang:generation_tokens_total",
        preemptions="sglang:num_retracted_requests_total",
        prefix_hits="sglang:cached_tokens_total",
        prefix_queries="sglang:prompt_tokens_total",
    ),
    said=said,
    sources=SOURCES,
)
