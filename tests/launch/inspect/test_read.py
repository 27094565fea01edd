"""Servers of three engines, by answers composed after their sources: what is read of each."""

from http.server import BaseHTTPRequestHandler

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from shardwright.engine.catalog import ENGINES
from shardwright.errors import EnvironmentLacksError
from shardwright.launch.inspect.inspection import SaidCache, SaidLayout
from shardwright.launch.inspect.read import SERVED, inspect
from shardwright.units import GIB
from tests.launch.inspect.replay import answers_of, serving

MODEL = "Qwen/Qwen3-30B-A3B"


def test_vllm() -> None:
    with serving(answers_of("vllm")) as url:
        found = inspect(url + "/")
    said = found.said
    assert (found.engine, said.version, said.models) == ("vllm", "0.33.0+cu129", (MODEL,))
    assert said.layout == SaidLayout(tp=2, dp=2, pp=1, ep=4, stage_gpus=4)
    # num_gpu_blocks of both ranks together is 142,000.
    assert said.cache == SaidCache(blocks=71_000, block_tokens=16, tokens=1_136_000, dtype="auto")
    assert (said.dtype, said.quantisation, said.max_model_len) == ("bfloat16", None, 1690)
    assert (said.max_sequences, said.max_batched_tokens, said.memory_share) == (1024, 8192, 0.92)
    assert [(r.rank, r.running, r.waiting, r.kv_usage) for r in found.ranks] == [
        (0, 31, 0, 0.25),
        (1, 33, 2, 0.3125),
    ]
    seen = found.observed
    assert seen.ttft is not None and seen.tpot is not None and seen.itl is not None
    assert seen.ttft.count == 20 and seen.ttft.mean_s == pytest.approx(1.45 / 20)
    assert seen.tpot.mean_s == pytest.approx((19 * 0.014 + 0.02) / 20)
    assert (seen.ttft.p50.low_s, seen.ttft.p50.high_s) == (0.02, 0.04)
    assert (seen.prompt_tokens, seen.output_tokens, seen.preemptions) == (10_000, 161_920, 3)
    assert seen.prefix_hits == 0.15 and seen.over_s is None and seen.output_tokens_per_s is None
    assert not found.unread


def test_vllm_outside_of_development_mode_says_dp_ranks_only() -> None:
    answers = answers_of("vllm")
    del answers["server_info"]
    with serving(answers) as url:
        found = inspect(url)
    assert found.said.layout == SaidLayout(dp=2)
    assert found.said.cache.tokens == 1_136_000 and found.said.version == "0.33.0+cu129"
    assert ["VLLM_SERVER_DEV_MODE=1" in line for line in found.unread] == [True]


def test_vllm_before_it_told_the_tokens_of_a_rank() -> None:
    answers = answers_of("vllm")
    page = answers["metrics"]
    assert isinstance(page, bytes)
    answers["metrics"] = page.replace(b'kv_cache_size_tokens="1136000"', b'kv_cache_size_tokens="None"')
    with serving(answers) as url:
        assert inspect(url).said.cache.tokens == 1_136_000


def test_sglang() -> None:
    with serving(answers_of("sglang")) as url:
        found = inspect(url)
    said = found.said
    assert (found.engine, said.version, said.models) == ("sglang", "0.5.23", (MODEL,))
    assert said.layout == SaidLayout(tp=2, dp=2, pp=1, ep=4, stage_gpus=4, copies=1)
    assert said.cache == SaidCache(blocks=999_000, block_tokens=1, tokens=999_000, dtype="auto")
    assert said.weight_bytes == 15.0 * GIB and said.memory_share == 0.86
    assert [(r.rank, r.running, r.waiting, r.kv_usage) for r in found.ranks] == [
        (0, 30, 0, 0.2),
        (1, 34, 1, 0.4),
    ]
    seen = found.observed
    assert seen.ttft is not None and seen.ttft.count == 20 and seen.itl is None
    assert seen.prefix_hits == 0.15 and seen.preemptions == 0


def test_sglang_by_its_older_names() -> None:
    """/get_server_info, and attention DP by --dp-size with --enable-dp-attention; no --enable-metrics."""
    answers = answers_of("sglang")
    info = answers.pop("server_info")
    del answers["metrics"]
    assert isinstance(info, bytes)
    answers["get_server_info"] = info.replace(b'"attn_dp_size": 2,', b"").replace(
        b'"dp_size": 1,', b'"dp_size": 2,'
    )
    with serving(answers) as url:
        found = inspect(url)
    assert found.said.layout == SaidLayout(tp=2, dp=2, pp=1, ep=4, stage_gpus=4, copies=1)
    assert found.ranks == () and found.observed.ttft is None
    assert any("--enable-metrics" in line for line in found.unread)


def test_tensorrt_llm_1_2_does_not_say_its_layout() -> None:
    with serving(answers_of("trtllm")) as url:
        found = inspect(url)
    assert (found.engine, found.said.version, found.said.models) == ("trtllm", "1.2.0", ("Qwen3-30B-A3B",))
    assert found.said.layout == SaidLayout()
    assert found.said.cache == SaidCache(blocks=35_500, block_tokens=32, tokens=1_136_000)
    assert ["now gone from the server's queue" in line for line in found.unread] == [True]


def test_later_tensorrt_llm() -> None:
    with serving(answers_of("trtllm_later")) as url:
        found = inspect(url)
    assert found.said.layout == SaidLayout(pp=1, ep=4, stage_gpus=4)
    assert found.said.cache == SaidCache(blocks=35_500, block_tokens=32, tokens=1_136_000, dtype="auto")
    assert found.said.max_model_len == 1690 and not found.unread


@pytest.mark.parametrize("folder", ["vllm", "sglang", "trtllm"])
def test_metrics_tell_the_engine_where_cards_need_a_key(folder: str) -> None:
    answers = answers_of(folder)
    del answers["v1_models"]
    with serving(answers) as url:
        found = inspect(url)
    assert found.engine == folder
    assert [line for line in found.unread if "a key may be needed" in line] and len(found.unread) <= 3


def test_a_path_before_the_server() -> None:
    answers = {f"models_a_{path}": body for path, body in answers_of("vllm").items()}
    with serving(answers) as url:
        assert inspect(url + "/models/a").engine == "vllm"


def test_every_engine_is_one_of_the_catalog() -> None:
    assert {served.engine for served in SERVED} <= set(ENGINES)
    assert all(served.sources for served in SERVED)


def test_two_readings_count_what_came_between() -> None:
    registry = CollectorRegistry()
    labels = ("model_name", "engine")
    ttft = Histogram("vllm:time_to_first_token_seconds", "", labels, registry=registry).labels(MODEL, "0")
    tokens = Counter("vllm:generation_tokens", "", labels, registry=registry).labels(MODEL, "0")
    running = Gauge("vllm:num_requests_running", "", labels, registry=registry).labels(MODEL, "0")
    for before in (1.0, 2.0, 3.0):
        ttft.observe(before)
    tokens.inc(80_000)
    readings = []

    def page(handler: BaseHTTPRequestHandler) -> None:
        if readings:
            ttft.observe(0.09)
            tokens.inc(100)
            running.set(7)
        readings.append(handler.path)
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(generate_latest(registry))

    with serving({**answers_of("vllm"), "metrics": page}) as url:
        found = inspect(url, over_s=0.05)
    seen = found.observed
    assert len(readings) == 2 and [rank.running for rank in found.ranks] == [7]
    assert seen.output_tokens == 100 and seen.over_s is not None and seen.over_s >= 0.05
    assert seen.output_tokens_per_s == pytest.approx(100 / seen.over_s)
    assert seen.ttft is not None and seen.ttft.count == 1
    assert seen.ttft.mean_s == pytest.approx(0.09)
    assert (seen.ttft.p99.low_s, seen.ttft.p99.high_s) == (0.075, 0.1)
    assert seen.tpot is None


def test_counts_that_go_back_are_of_another_server() -> None:
    pages = iter([b"vllm:generation_tokens_total 5\n", b"vllm:generation_tokens_total 4\n"])

    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(next(pages))

    gone = pytest.raises(EnvironmentLacksError, match="started anew")
    with serving({**answers_of("vllm"), "metrics": page}) as url, gone:
        inspect(url, over_s=0.01)
