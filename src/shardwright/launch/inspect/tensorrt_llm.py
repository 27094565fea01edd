"""TensorRT-LLM's server, trtllm-serve, read in its repository; files are named below `tensorrt_llm/`.

/metrics answers with what each iteration left in a queue, and empties it; the page in Prometheus' format is
another. Its rows of configuration came after 1.2: an older server does not say its layout.
"""

from collections.abc import Mapping

from shardwright.launch.inspect.inspection import Said, SaidCache, SaidLayout
from shardwright.launch.inspect.metrics import Samples
from shardwright.launch.inspect.served import Cards, Names, Served, names_of, number, share, text
from shardwright.launch.inspect.site import Site

COLLECTOR = "TensorRT-LLM at 050f80d, metrics/collector.py"
SOURCES = {
    "routes": "TensorRT-LLM, serve/openai_server.py: register_routes, log_config_info",
    "models": "TensorRT-LLM 1.2, serve/openai_protocol.py: ModelCard",
    "iterations": "TensorRT-LLM 1.2, docs/source/commands/trtllm-serve: metrics endpoint",
    "figures": COLLECTOR,
}

NAMES = Names(
    rank="rank",
    running="trtllm_num_requests_running",
    waiting="trtllm_num_requests_waiting",
    kv_usage="trtllm_kv_cache_utilization",
    ttft="trtllm_time_to_first_token_seconds",
    tpot="trtllm_time_per_output_token_seconds",
    prompt_tokens="trtllm_prompt_tokens_total",
    output_tokens="trtllm_generation_tokens_total",
    prefix_hits="trtllm_prompt_cached_tokens_total",
    prefix_queries="trtllm_prompt_tokens_total",
)


def said(site: Site, cards: Cards, samples: Samples) -> Said:
    """Version and model; layout and cache where the rows of configuration are there."""
    model = _labels(samples, "trtllm_model_config_info")
    cache = _labels(samples, "trtllm_kv_cache_config_info")
    return Said(
        version=text(site.document("/version"), "version"),
        models=names_of(cards),
        layout=_layout(_labels(samples, "trtllm_parallel_config_info")),
        cache=_cache(site, samples, cache),
        dtype=text(model, "dtype"),
        quantisation=text(model, "quantization"),
        max_model_len=number(model, "max_model_len"),
        max_sequences=_gauge(samples, "trtllm_max_batch_size_static"),
        max_batched_tokens=_gauge(samples, "trtllm_max_num_tokens_runtime"),
        memory_share=share(cache, "free_gpu_memory_fraction"),
    )


def _layout(parallel: Mapping[str, str]) -> SaidLayout:
    """tensor_parallel_size counts all GPUs of a stage; no row says whether attention DP is a part of them."""
    return SaidLayout(
        pp=number(parallel, "pipeline_parallel_size"),
        ep=number(parallel, "expert_parallel_size"),
        stage_gpus=number(parallel, "tensor_parallel_size"),
    )


def _cache(site: Site, samples: Samples, config: Mapping[str, str]) -> SaidCache:
    blocks = _gauge(samples, "trtllm_kv_cache_max_blocks")
    block_tokens = _gauge(samples, "trtllm_kv_cache_tokens_per_block")
    if blocks is None:
        rows = site.document("/metrics")
        last = rows[-1] if isinstance(rows, list) and rows else None
        blocks = number(last, "kvCacheStats", "maxNumBlocks")
        block_tokens = number(last, "kvCacheStats", "tokensPerBlock")
        if isinstance(rows, list):
            site.unread.append("/metrics: its rows of iterations are now gone from the server's queue")
    tokens = blocks * block_tokens if blocks is not None and block_tokens is not None else None
    return SaidCache(
        blocks=blocks, block_tokens=block_tokens, tokens=tokens, dtype=text(config, "cache_dtype")
    )


def _labels(samples: Samples, name: str) -> dict[str, str]:
    return next((labels for labels, _ in samples.of(name)), {})


def _gauge(samples: Samples, name: str) -> int | None:
    values = [int(value) for _, value in samples.of(name)]
    return max(values, default=None)


TENSORRT_LLM = Served(
    engine="trtllm",
    title="TensorRT-LLM",
    owner="tensorrt_llm",
    prefix="trtllm_",
    metrics="/prometheus/metrics/",
    why_not="which needs return_perf_metrics: true",
    names=NAMES,
    said=said,
    sources=SOURCES,
)
