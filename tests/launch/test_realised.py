"""What vLLM prints of its layout, read from logs that it wrote: vLLM 0.32.0 on a CPU, 2026-11-28.

Paths of that machine, repeated warnings and routes were taken out of the files. The model is the tiny
Qwen3-MoE of 8 experts that `python -m shardwright.run.tiny served` makes; KV in bf16 in tp2 and pp2.
"""

from pathlib import Path

import pytest

from shardwright.launch.realised import Realised, realised_by_vllm
from shardwright.units import GIB

LOGS = Path(__file__).with_name("logs")


def recorded(name: str) -> str:
    return (LOGS / f"vllm-0.32-{name}.log").read_text(encoding="utf-8")


def read(name: str) -> Realised:
    return realised_by_vllm([recorded(name)])


def places(found: Realised) -> list[tuple[int, int, int, int, int | None]]:
    return [(rank.rank, rank.dp, rank.pp, rank.tp, rank.ep) for rank in found.ranks]


@pytest.mark.parametrize(
    ("name", "expected", "tokens"),
    [
        ("tp2", [(0, 0, 0, 0, None), (1, 0, 0, 1, None)], {0: 2_097_152}),
        ("pp2", [(0, 0, 0, 0, None), (1, 0, 1, 0, None)], {0: 2_097_152}),
        ("tp2ep", [(0, 0, 0, 0, 0), (1, 0, 0, 1, 1)], {0: 1_048_576}),
        ("dp2ep", [(0, 0, 0, 0, 0), (1, 1, 0, 0, 1)], {0: 524_288, 1: 524_288}),
    ],
)
def test_every_rank_says_where_it_stands(
    name: str, expected: list[tuple[int, ...]], tokens: dict[int, int]
) -> None:
    found = read(name)
    assert places(found) == expected
    assert {rank.world for rank in found.ranks} == {2}
    assert found.engine_version == "0.32.0"
    assert {cache.dp: cache.tokens for cache in found.caches} == tokens
    assert {cache.device for cache in found.caches} == {"CPU"}
    assert [rank.kv_bytes for rank in found.ranks] == [GIB, GIB]
    assert [rank.weights_bytes for rank in found.ranks] == [None, None]


def test_experts_are_those_that_are_printed() -> None:
    assert read("tp2").experts == read("pp2").experts == ()
    (one,) = read("tp2ep").experts
    assert (one.ep_rank, one.ep_size, one.local, one.total, one.experts) == (0, 2, 4, 8, (0, 1, 2, 3))
    assert [(each.ep_rank, each.experts) for each in read("dp2ep").experts] == [
        (0, (0, 1, 2, 3)),
        (1, (4, 5, 6, 7)),
    ]


def test_the_order_of_lines_and_of_logs_does_not_matter() -> None:
    lines = recorded("dp2ep").splitlines()
    halves = "\n".join(lines[::2]), "\n".join(lines[1::2])
    turned = realised_by_vllm(["\n".join(reversed(lines))])
    assert places(turned) == places(read("dp2ep"))
    assert turned.experts == read("dp2ep").experts
    assert len(realised_by_vllm(halves).experts) == 2


STAMP = "(EngineCore pid=9) INFO 11-28 18:15:12"
ALONE = f"""
{STAMP} [core.py:133] Initializing a V1 LLM engine (v0.33.0) with config: model='m', speculative_config=None
{STAMP} [parallel_state.py:2350] rank 0 in world size 1 is assigned as DP rank 0, PP rank 0, PCP rank 0, \
TP rank 0, ETP rank 0, EP rank N/A, EPLB rank N/A
{STAMP} [gpu_model_runner.py:5149] Model loading took 56.93 GiB memory and 12.3 seconds
{STAMP} [gpu_worker.py:759] Available KV cache memory: 10.5 GiB
{STAMP} [kv_cache_utils.py:2327] GPU KV cache size: 114,688 tokens, Maximum concurrency for 8,192 tokens ...
"""
"""One rank has no worker. Lines as the 0.32.0 wheel formats them: core.py, parallel_state.py:2350,
gpu_model_runner.py:5149, gpu_worker.py:759; figures of our own."""


def test_a_lone_rank_on_a_gpu_says_its_weights() -> None:
    found = realised_by_vllm([ALONE])
    assert places(found) == [(0, 0, 0, 0, None)]
    (rank,) = found.ranks
    assert (rank.world, rank.weights_bytes, rank.kv_bytes) == (1, 56.93 * GIB, 10.5 * GIB)
    assert [(cache.device, cache.tokens) for cache in found.caches] == [("GPU", 114_688)]


def test_an_engine_core_that_is_a_rank_itself_says_no_ep() -> None:
    """DP 2 on GPUs with TP 1: the second core is no first rank of its node, and is not assigned aloud."""
    first = ALONE.replace("EngineCore pid=9", "EngineCore_DP0 pid=9").replace("world size 1", "world size 2")
    second = (
        "(EngineCore_DP1 pid=10) INFO 11-28 18:15:12 [a.py:1906] world_size=2 rank=1 local_rank=1 "
        "distributed_init_method=tcp://127.0.0.1:35807 backend=nccl"
    )
    found = realised_by_vllm([f"{first}\n{second}\n"])
    assert places(found) == [(0, 0, 0, 0, None), (1, 1, 0, 0, None)]
    assert [rank.says_ep for rank in found.ranks] == [True, False]


@pytest.mark.parametrize(
    "text", ["", "nothing of interest", "(Worker_TP0 pid=1) INFO x", "rank 0 in world size"]
)
def test_a_log_that_says_nothing_realises_nothing(text: str) -> None:
    found = realised_by_vllm([text])
    assert (found.engine_version, found.ranks, found.experts, found.caches) == ("", (), (), ())
