"""The catalog against what the publishers print."""

from pathlib import Path

import pytest

from shardwright.errors import InputError
from shardwright.model.catalog import catalog_entries, find_model, model_names
from shardwright.model.weights import bytes_by_part, num_active_parameters, num_parameters, weights
from shardwright.units import GIB


@pytest.mark.parametrize("name", model_names())
def test_the_checkpoint_has_the_published_size(name: str) -> None:
    """Exactly, where the count is published. Else within 3 % of what is printed, or 1B where that is more:
    publishers cut off, and some count prediction layers. With vision, test_oracle.py has the whole."""
    entry, spec = catalog_entries()[name], find_model(name)
    total = sum(row.num_elements for row in weights(spec))
    if "with_vision" in entry["published"]:
        assert total < entry["published"]["with_vision"]
    elif "size" in entry["published"]:
        printed, unit = float(entry["published"]["size"][:-1]), {"B": 1e9, "T": 1e12}
        scale = unit[entry["published"]["size"][-1]]
        assert abs(total - printed * scale) <= max(0.03 * printed * scale, 1e9)
    else:
        assert total == entry["published"]["parameters"]
    assert spec.source == entry["source"]
    assert entry["source"].startswith(f"https://huggingface.co/{name}/")


@pytest.mark.parametrize(
    "name", [key for key in model_names() if "active" in catalog_entries()[key]["published"]]
)
def test_the_active_share_is_the_published_one(name: str) -> None:
    """Within 2 %: publishers round down (Qwen3-30B-A3B: 3.35 B is printed 3.3B)."""
    printed = float(catalog_entries()[name]["published"]["active"].removesuffix("B")) * 1e9
    assert num_active_parameters(find_model(name)) == pytest.approx(printed, rel=0.02)


def test_deepseek_counts_its_selection_biases_apart() -> None:
    """README_WEIGHTS.md of DeepSeek-V3: 36.6B active with the head and without the embedding."""
    spec = find_model("deepseek-ai/DeepSeek-V3")
    assert num_parameters(spec) == 671_026_419_200 - 58 * 256
    assert num_active_parameters(spec) - spec.vocab * spec.hidden == pytest.approx(36.6e9, abs=0.05e9)
    assert spec.left_out == ("1 multi-token-prediction layer",)


@pytest.mark.parametrize(
    ("name", "active", "within"),
    [
        ("openai/gpt-oss-20b", 3.61e9, 0.005e9),
        ("openai/gpt-oss-120b", 5.13e9, 0.005e9),
        ("deepseek-ai/DeepSeek-V2-Lite", 2.4e9, 0.06e9),
    ],
)
def test_some_publishers_leave_the_embedding_out_of_what_is_active(
    name: str, active: float, within: float
) -> None:
    """gpt-oss: arXiv 2508.10925, table 1. DeepSeek-V2-Lite: arXiv 2405.04434, appendix B."""
    spec = find_model(name)
    assert num_active_parameters(spec) - spec.vocab * spec.hidden == pytest.approx(active, abs=within)


@pytest.mark.parametrize(("name", "gib"), [("openai/gpt-oss-20b", 12.8), ("openai/gpt-oss-120b", 60.8)])
def test_gpt_oss_has_the_published_bytes(name: str, gib: float) -> None:
    """Checkpoint size of arXiv 2508.10925, table 1: experts of 4.25 bits, scales included, the rest of 16."""
    assert sum(bytes_by_part(find_model(name)).values()) / GIB == pytest.approx(gib, abs=0.05)


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B"])
def test_a_model_is_found_by_its_last_part(name: str) -> None:
    assert find_model(name).name == "Qwen/Qwen3-30B-A3B"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Qwen/Qwen3-30B-A3", "is Qwen/Qwen3-30B-A3B"),
        ("Llama-3.3-70B", "meta-llama/Llama-3.3-70B-Instruct"),
        ("other/Qwen3-8B", "is Qwen/Qwen3-8B or .* meant"),
        ("", "one of the .* models of the catalog, such as meta-llama/Llama-2-7b-hf"),
        ("zzz", "one of the .* models of the catalog, such as meta-llama/Llama-2-7b-hf"),
    ],
)
def test_a_near_miss_is_told_its_neighbour(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint) as caught:
        find_model(name)
    assert (caught.value.field, caught.value.value) == ("model", name)


def test_the_readme_says_how_many_were_held_against_a_copy() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    held = [entry for entry in catalog_entries().values() if entry.get("held_against")]
    assert f"{len(held)} of the {len(catalog_entries())} models" in readme
