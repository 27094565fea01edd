"""Windows of the published models: which layers have one, and what a sequence keeps of its KV."""

from typing import Any

import pytest

from shardwright.errors import InputError
from shardwright.model.catalog import catalog_entries, find_model
from shardwright.model.hf import read_config
from shardwright.model.kv import kv_bytes_per_token


@pytest.mark.parametrize(
    ("name", "window", "num_windowed", "first_full"),
    [
        ("Mistral-7B-v0.1", 4096, 32, None),  # arXiv 2310.06825, section 2: every layer
        ("gemma-2-27b", 4096, 23, 1),  # arXiv 2408.00118, section 2: every other layer
        ("gemma-3-27b-it", 1024, 52, 5),  # arXiv 2503.19786, section 2: five local to one global
        ("gemma-3-1b-it", 512, 22, 5),
        ("gpt-oss-120b", 128, 18, 1),  # arXiv 2508.10925, section 2.2
        ("Phi-3-mini-4k-instruct", 2047, 32, None),
        ("Llama-4-Scout-17B-16E-Instruct", 8192, 36, 3),  # no rotary positions in every fourth layer
        ("Mistral-Nemo-Instruct-2407", None, 0, 0),
        ("Qwen3-32B", None, 0, 0),
    ],
)
def test_published_windows(name: str, window: int | None, num_windowed: int, first_full: int | None) -> None:
    spec = find_model(name)
    assert (spec.window, len(spec.windowed_layers)) == (window, num_windowed)
    full = [layer for layer, shape in enumerate(spec.layer_shapes) if shape.window is None]
    assert (full[0] if full else None) == first_full


def test_interleaved_windows_spare_kv() -> None:
    """Gemma 3 27B: 16 KV heads of 128 in 16 bits; at 32,768 tokens 10 layers keep all, 52 the last 1,024."""
    row = 2 * 16 * 128 * 2
    assert kv_bytes_per_token(find_model("gemma-3-27b-it"), 32_768) == row * (10 + 52 / 32)
    assert kv_bytes_per_token(find_model("Mistral-7B-v0.1"), 32_768) == 32 * 2 * 8 * 128 * 2 / 8


def read(name: str, **changed: Any) -> tuple[int | None, tuple[int, ...]]:
    config = catalog_entries()[name]["config"]
    spec = read_config(config | {"num_hidden_layers": 6} | changed, name="m")
    return spec.window, spec.windowed_layers


QWEN2, QWEN3_MOE = "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-30B-A3B"
DOTS, SPARSE = "rednote-hilab/dots.llm1.inst", "Qwen/Qwen1.5-MoE-A2.7B"


@pytest.mark.parametrize(
    ("name", "changed", "expected"),
    [
        (QWEN2, {"use_sliding_window": True, "max_window_layers": 4}, (131_072, (4, 5))),
        (QWEN2, {"use_sliding_window": True, "max_window_layers": 28}, (None, ())),
        (QWEN2, {"use_sliding_window": False, "max_window_layers": 0}, (None, ())),
        (QWEN3_MOE, {"use_sliding_window": True}, (4096, (0, 1, 2, 3, 4, 5))),
        (QWEN3_MOE, {"use_sliding_window": True, "sliding_window": None}, (None, ())),
        (SPARSE, {"use_sliding_window": True, "max_window_layers": 3}, (4096, (0, 2))),
        (DOTS, {"sliding_window": 64, "max_window_layers": 5}, (64, (5,))),
        ("google/gemma-3-1b-it", {"sliding_window_pattern": 3}, (512, (0, 1, 3, 4))),
        ("google/gemma-2-9b", {"layer_types": ["full_attention"] * 5 + ["sliding_attention"]}, (4096, (5,))),
    ],
)
def test_fields_say_which_layers(name: str, changed: dict[str, Any], expected: tuple[object, ...]) -> None:
    assert read(name, **changed) == expected


def chunked(**changed: Any) -> tuple[int | None, tuple[int, ...]]:
    text = catalog_entries()["meta-llama/Llama-4-Scout-17B-16E-Instruct"]["config"]["text_config"]
    spec = read_config(text | {"num_hidden_layers": 6} | changed, name="m")
    return spec.window, spec.windowed_layers


def test_chunks_stand_where_positions_are_rotary() -> None:
    assert chunked() == (8192, (0, 1, 2, 4, 5))
    assert chunked(no_rope_layers=[1, 0, 1, 0, 1, 0]) == (8192, (0, 2, 4))
    assert chunked(no_rope_layers=[]) == chunked()
    assert chunked(attention_chunk_size=None) == (None, ())
    for wrong in ([1, 0], [2] * 6, "all", 6):
        with pytest.raises(InputError, match="no_rope_layers"):
            chunked(no_rope_layers=wrong)
