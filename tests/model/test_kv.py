"""KV bytes: exact cases, and what holds for every number of ranks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.model.catalog import find_model, model_names
from shardwright.model.kv import (
    kv_bytes_per_token,
    kv_bytes_per_token_per_layer,
    kv_bytes_per_token_per_layer_per_rank,
)


@pytest.mark.parametrize(
    ("name", "num_bytes"),
    [
        ("mistralai/Mistral-Small-3.1-24B-Instruct-2503", 163_840),
        ("meta-llama/Llama-3.1-8B", 131_072),
        ("Qwen/Qwen3-30B-A3B", 98_304),
        ("deepseek-ai/DeepSeek-V2-Lite", 31_104),  # 27 x (512 + 64) x 2
        ("openai/gpt-oss-20b", 49_152),  # 24 x 8 x 2 x 64 x 2: one token is in every window
        ("deepseek-ai/DeepSeek-V3", 70_272),  # 61 x (512 + 64) x 2, DeepSeek-V3 keeps the cache in bf16
    ],
)
def test_bytes_of_a_token(name: str, num_bytes: int) -> None:
    assert kv_bytes_per_token(find_model(name)) == num_bytes


@pytest.mark.parametrize(("length", "layers"), [(1, 24), (128, 24), (256, 12 + 6), (2048, 12 + 0.75)])
def test_a_windowed_layer_keeps_its_window(length: int, layers: float) -> None:
    """gpt-oss-20b: 12 layers keep every token, 12 the last 128."""
    assert kv_bytes_per_token(find_model("gpt-oss-20b"), length) == layers * 8 * 2 * 64 * 2


@pytest.mark.parametrize(("tp", "heads"), [(1, 8), (2, 4), (3, 3), (4, 2), (8, 1), (16, 1), (64, 1)])
def test_a_rank_holds_whole_heads_and_one_at_least(tp: int, heads: int) -> None:
    spec = find_model("meta-llama/Llama-3.1-8B")
    assert kv_bytes_per_token_per_layer_per_rank(spec, tp) == heads * 2 * 128 * 2


def test_no_rank_is_spared_the_latent_row() -> None:
    spec = find_model("deepseek-ai/DeepSeek-V3")
    assert kv_bytes_per_token_per_layer_per_rank(spec, np.array([1, 2, 16])).tolist() == [1152.0] * 3


@given(name=st.sampled_from(model_names()), degrees=st.lists(st.integers(1, 512), min_size=1))
def test_an_array_gives_what_its_entries_give(name: str, degrees: list[int]) -> None:
    """And all ranks together hold the cache at least once."""
    spec = find_model(name)
    together = kv_bytes_per_token_per_layer_per_rank(spec, np.array(degrees))
    assert together.tolist() == [kv_bytes_per_token_per_layer_per_rank(spec, tp) for tp in degrees]
    assert (together * np.array(degrees) >= kv_bytes_per_token_per_layer(spec)).all()
