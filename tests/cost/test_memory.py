"""The memory model against what ranks really hold, shard by shard, and against hand arithmetic."""

import numpy as np
import pytest

from shardwright.cost.kv_cache import KvCache
from shardwright.cost.memory import RankMemory, rank_memories
from shardwright.engine.catalog import ENGINES
from shardwright.layout.grid import build_grid, coordinates, role
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.layout.shards import rank_shards
from shardwright.model.catalog import find_model
from shardwright.model.scheme import Quantised, Scheme
from shardwright.model.spec import ModelSpec
from shardwright.model.weights import weights
from shardwright.units import GB
from tests.samples import DENSE, LATENT, REFERENCE, SMALL_MOE, WINDOWED, cluster

OURS = ENGINES["shardwright"]


PARTLY_FP8 = DENSE.model_copy(
    update={
        "quantised": (
            Quantised(
                scheme=Scheme(dtype="fp8", bits=8, block=(128, 128), scale_bytes=4),
                modules=("mlp.up_proj", "mlp.down_proj"),
                layers=(1, 2, 4),
            ),
        )
    }
)
"""Layers of one shape that weigh differently."""


def memories(model: ModelSpec, layout: Layout, layers: tuple[int, ...], **load: int) -> list[RankMemory]:
    amount = {"sequences": 1, "tokens_per_sequence": 16, **load}
    return list(rank_memories(model, OURS, cluster(), layout, layers, **amount))


@pytest.mark.parametrize(
    ("model", "text", "layers"),
    [
        (DENSE, "tp4.pp2", (3, 3)),
        (DENSE, "tp8", (6,)),
        (SMALL_MOE, "tp2.dp2.pp2/ep4", (2, 2)),
        (SMALL_MOE, "tp2.dp3/ep3.etp2", (4,)),
        (SMALL_MOE, "tp2.dp2/ep4.r4", (4,)),
        (SMALL_MOE, "tp2.pp2+ep3.shared", (3, 1)),
        (LATENT, "tp2.dp2.pp3/ep4", (2, 2, 1)),
        (LATENT, "tp4.pp2+ep4.etp2", (3, 2)),
        (WINDOWED, "tp2.dp2.pp2/ep2.etp2", (3, 3)),
        (WINDOWED, "tp4.pp2+ep3.etp2.shared", (2, 4)),
        (PARTLY_FP8, "tp2.pp2", (4, 2)),
        (PARTLY_FP8, "tp4", (6,)),
    ],
)
def test_weights_are_those_of_the_fullest_rank(model: ModelSpec, text: str, layers: tuple[int, ...]) -> None:
    layout = parse_layout(text)
    grid = build_grid(layout)
    ends = {
        0: "first" if len(layers) > 1 else "only",
        len(layers) - 1: "last" if len(layers) > 1 else "only",
    }
    held: dict[tuple[str, str], float] = {}
    for rank in range(layout.num_gpus):
        stage = coordinates(grid, rank).stage
        name = "all" if stage is None else ends.get(stage, "middle")
        total = sum(shard.num_bytes for shard in rank_shards(weights(model), grid, layers, rank))
        key = (role(grid, rank), name)
        held[key] = max(held.get(key, 0.0), total)
    for memory in memories(model, layout, layers):
        assert float(np.asarray(memory.weights)) == pytest.approx(held.pop((memory.role, memory.stage))), (
            memory
        )
    assert not held, "every role and stage is in the model"


def test_kv_rules() -> None:
    """SMALL_MOE: 2 KV heads of 32 in bf16. tp 2 halves the row; tp 8 keeps one whole head a rank."""
    per_layer = 2 * 32 * 2
    for tp, heads in ((1, 2), (2, 1), (8, 1)):
        (memory,) = memories(SMALL_MOE, Layout(tp=tp, etp=tp), (4,), sequences=3, tokens_per_sequence=100)
        assert float(memory.kv_bytes_per_token) == 4 * heads * per_layer
        assert OURS.memory.block_tokens == 1
        assert float(memory.kv) == 3 * 100 * 4 * heads * per_layer
    rows = [float(memories(LATENT, Layout(tp=tp, ep=tp), (5,))[0].kv_bytes_per_token) for tp in (1, 8)]
    assert rows[0] == rows[1] == 5 * (64 + 16) * 2, "MLA's latent row is not divided by TP"


def test_kv_comes_in_blocks() -> None:
    """vLLM keeps blocks of 16: 100 tokens take seven."""
    amount = {"sequences": 3, "tokens_per_sequence": 100}
    (memory,) = rank_memories(SMALL_MOE, ENGINES["vllm"], cluster(), Layout(), (4,), **amount)
    assert float(memory.kv) == 3 * 112 * float(memory.kv_bytes_per_token)
    assert float(memory.kv_tokens()) % 16 == 0


def test_a_windowed_layer_keeps_the_kv_of_its_window() -> None:
    """Of 512 tokens: three layers keep all, three the last 128; a token's row is 2 x 2 heads x 32 x 2 B."""
    (memory,) = memories(WINDOWED, Layout(), (6,), sequences=5, tokens_per_sequence=512)
    assert float(memory.kv) == 5 * (3 * 512 + 3 * 128) * 2 * 2 * 32 * 2
    (short,) = memories(WINDOWED, Layout(), (6,), sequences=5, tokens_per_sequence=100)
    assert float(short.kv) == 5 * 6 * 100 * 2 * 2 * 32 * 2
    assert float(memory.kv_tokens()) > 1.5 * float(short.kv_tokens())


@pytest.mark.parametrize(("block", "window"), [(1, 128), (16, 128), (16, 1), (32, 127), (16, 17), (16, 18)])
def test_a_window_keeps_every_block_that_it_can_touch(block: int, window: int) -> None:
    """Counted token by token: the most blocks that the last `window` tokens of a growing sequence lie in."""
    cache = KvCache(layers=((window, 2), (None, 1)), layer_bytes_per_token=3.0, block_tokens=block)
    length = 40 * block
    touched = [len({t // block for t in range(max(0, end - window), end)}) for end in range(1, length + 1)]
    assert cache.sequence_bytes(length) == 3.0 * block * (2 * max(touched) + 40)
    assert cache.sequence_bytes(1) == 3.0 * block * 3


def test_the_longest_request_counts_windows_at_its_own_length() -> None:
    """A price asks for a request of max_model_len, not for so many tokens of the load's mean."""
    (memory,) = memories(WINDOWED, Layout(), (6,), sequences=5, tokens_per_sequence=100)
    row = 2 * 2 * 32 * 2
    short, long = float(memory.kv_tokens()), float(memory.kv_tokens(10_000))
    assert short == float(memory.left_for_kv) // (6 * row)
    assert long == pytest.approx(float(memory.left_for_kv) / ((3 * 10_000 + 3 * 128) * row) * 10_000, abs=1)


def test_reference_by_hand() -> None:
    """Folded on 8 GPUs: 58.0 GB of experts over 8; the document's map: 14.5 GB on an expert GPU."""
    first, last = memories(REFERENCE, parse_layout("tp2.dp2.pp2/ep4"), (8, 8))
    assert float(first.expert_weights) == 16 * 64 * 3 * 4096 * 2304 * 2 / 8
    assert float(first.weights) / GB == pytest.approx(7.7, abs=0.05)
    assert float(last.head) == pytest.approx(32000 * 4096 * 2 / 2 + 4096 * 2)
    by_map = memories(REFERENCE, parse_layout("tp2.pp2+ep4.shared"), (8, 8))
    expert = next(memory for memory in by_map if memory.role == "experts")
    assert float(expert.weights) / GB == pytest.approx(14.5, abs=0.01) and float(expert.kv) == 0
    assert all(float(m.weights) < 0.7 * GB for m in by_map if m.role == "attention")


def test_left_for_kv_goes_negative_when_weights_do_not_fit() -> None:
    model = find_model("DeepSeek-V3")
    (memory,) = memories(model, Layout(), (model.num_layers,))
    assert float(memory.left_for_kv) < -500 * GB and float(memory.over_budget) > 500 * GB
    assert float(memory.kv_tokens()) == 0
