"""Pages that vLLM's own code writes, read (make test-engines).

No server and no model: its logger of metrics gets two ranks' statistics, and its routes a configuration.
"""

import asyncio
from types import SimpleNamespace
from unittest import mock

import pytest
from prometheus_client import REGISTRY, generate_latest

from shardwright.launch.inspect.inspection import SaidCache, SaidLayout
from shardwright.launch.inspect.metrics import parse
from shardwright.launch.inspect.read import inspect
from shardwright.launch.inspect.vllm import VLLM
from tests.launch.inspect.replay import serving

pytestmark = pytest.mark.engines

config = pytest.importorskip("vllm.config", reason="make test-engines installs it")
loggers = pytest.importorskip("vllm.v1.metrics.loggers")
stats = pytest.importorskip("vllm.v1.metrics.stats")
server_info = pytest.importorskip("vllm.entrypoints.serve.dev.server_info.api_router")
basic = pytest.importorskip("vllm.entrypoints.serve.instrumentator.basic")
protocol = pytest.importorskip("vllm.entrypoints.serve.engine.protocol")

TTFT = {0: [0.03, 0.04], 1: [0.09, 0.2, 0.3]}


@pytest.fixture(scope="module")
def pages() -> dict[str, bytes]:
    """What its server would answer, TP 2 and DP 2 with expert parallelism."""
    parallel = config.ParallelConfig(
        tensor_parallel_size=2, data_parallel_size=2, enable_expert_parallel=True
    )
    made = config.VllmConfig()
    made.parallel_config = parallel
    made.cache_config = config.CacheConfig(block_size=32, gpu_memory_utilization=0.5)
    made.cache_config.num_gpu_blocks = 2 * 100
    made.cache_config.kv_cache_size_tokens = 3200
    made.model_config = SimpleNamespace(
        served_model_name="tiny", max_model_len=512, is_diffusion=False, is_multimodal_model=False
    )
    logger = loggers.PrometheusStatLogger(made, [0, 1])
    logger.log_engine_initialized()
    for rank, seconds in TTFT.items():
        steps = stats.IterationStats()
        steps.time_to_first_tokens_iter = seconds
        steps.inter_token_latencies_iter = [0.012]
        steps.num_generation_tokens = 7
        state = stats.SchedulerStats(num_running_reqs=3 + rank, num_waiting_reqs=rank, kv_cache_usage=0.25)
        logger.record(state, steps, engine_idx=rank)
    metrics = generate_latest(REGISTRY)
    made.model_config = None
    request = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(vllm_config=made)))
    with mock.patch.object(
        server_info, "_get_system_env_info_cached", dict
    ):  # asks every tool of the machine
        info = asyncio.run(server_info.show_server_info(request, "json"))
    card = protocol.ModelCard(id="tiny", root="/models/tiny", max_model_len=512)
    return {
        "metrics": metrics,
        "version": asyncio.run(basic.show_version()).body,
        "server_info": info.body,
        "v1_models": protocol.ModelList(data=[card]).model_dump_json().encode(),
    }


def test_every_name_is_one_of_its_own(pages: dict[str, bytes]) -> None:
    samples = parse(pages["metrics"].decode()).values
    names = vars(VLLM.names)
    histograms = {names[key] for key in ("ttft", "tpot", "itl")}
    single = {name for key, name in names.items() if key != "rank"} - histograms
    assert single <= set(samples)
    assert {f"{name}_bucket" for name in histograms} <= set(samples)
    assert all(names["rank"] in dict(labels) for name in single for labels in samples[name])


def test_what_is_read_is_what_was_recorded(pages: dict[str, bytes]) -> None:
    with serving(pages) as url:
        found = inspect(url)
    assert (found.engine, found.said.models, found.said.max_model_len) == (
        "vllm",
        ("tiny", "/models/tiny"),
        512,
    )
    assert found.said.version is not None and found.said.version.startswith("0.32.0")
    assert found.said.layout == SaidLayout(tp=2, dp=2, pp=1, ep=4, stage_gpus=4)
    assert found.said.cache == SaidCache(blocks=100, block_tokens=32, tokens=3200, dtype="auto")
    assert found.said.memory_share == 0.5
    assert [(r.rank, r.running, r.waiting, r.kv_usage) for r in found.ranks] == [
        (0, 3, 0, 0.25),
        (1, 4, 1, 0.25),
    ]
    seen = found.observed
    assert seen.output_tokens == 14 and seen.ttft is not None and seen.itl is not None
    assert seen.ttft.count == 5 and seen.ttft.mean_s == pytest.approx(0.66 / 5)
    assert seen.itl.mean_s == pytest.approx(0.012)
