"""The parameter counts, names and shapes of transformers 5.23.0, built without memory or written to disk."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
)

from shardwright.model.catalog import catalog_entries, find_model, model_names
from shardwright.model.hf import read_config
from shardwright.model.spec import ModelSpec
from shardwright.model.weights import CORRECTION_BIAS, num_parameters, weights

FAMILIES = (
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "olmoe",
    "deepseek_v2",
    "deepseek_v3",
    "gpt_oss",
    "qwen2_moe",
    "gemma2",
    "gemma3_text",
    "phi3",
    "granite",
    "llama4_text",
    "glm4_moe",
    "minimax_m2",
    "ernie4_5",
    "ernie4_5_moe",
    "hunyuan_v1_moe",
    "dots1",
)

TWINS = {"kimi_k2": "deepseek_v3"}
"""Families whose model is, in transformers, another's."""


def build(config: dict[str, Any], device: str = "meta") -> Any:
    """The model of transformers for a config.json's content, in its own dtype."""
    apart = ("model_type", "quantization_config", "torch_dtype")
    stated = {key: value for key, value in config.items() if key not in apart}
    family = config["model_type"]
    dtype = getattr(torch, config.get("torch_dtype") or "float32")
    with torch.device(device):
        return AutoModelForCausalLM.from_config(
            AutoConfig.for_model(TWINS.get(family, family), **stated), dtype=dtype
        )


def parameters(model: Any) -> dict[str, torch.nn.Parameter]:
    """By name, without selection biases, which some families hold as parameters and others as buffers."""
    return {name: value for name, value in model.named_parameters() if not name.endswith(CORRECTION_BIAS)}


def in_memory(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Our rows as transformers 5 holds them: experts fused, [gate; up] packed, Mixtral's block called mlp,
    the decoder of a wrapped model by itself."""
    shapes: dict[str, tuple[int, ...]] = {}
    for row in weights(spec):
        name = row.name.replace("block_sparse_moe", "mlp").removeprefix("language_model.")
        if row.fused_experts:
            shapes[name] = row.tensor_shape
        elif row.num_experts and row.sharding == "expert_row":
            shapes[f"model.layers.{row.layer}.mlp.experts.down_proj"] = (row.num_experts, *row.shape)
        elif row.num_experts:
            width, hidden = row.shape
            fused = f"model.layers.{row.layer}.mlp.experts.gate_up_proj"
            shapes[fused] = (row.num_experts, 2 * width, hidden)
        elif not name.endswith(CORRECTION_BIAS):
            shapes[name] = row.tensor_shape
    return shapes


def assert_same(config: dict[str, Any]) -> None:
    """Every parameter has our name and shape, and the totals agree exactly."""
    spec, model = read_config(config, name="oracle"), build(config)
    assert num_parameters(spec) == sum(parameter.numel() for parameter in parameters(model).values())
    assert in_memory(spec) == {name: tuple(value.shape) for name, value in parameters(model).items()}


def catalog_model(name: str) -> Any:
    config = catalog_entries()[name]["config"]
    return build({"torch_dtype": config.get("torch_dtype"), **config.get("text_config", config)})


@pytest.mark.parametrize("name", model_names())
def test_catalog_models_hold_what_transformers_builds(name: str) -> None:
    """Names, shapes, elements, selection biases; and, of what is not quantised, bytes."""
    spec, model = find_model(name), catalog_model(name)
    theirs = parameters(model)
    assert num_parameters(spec) == sum(parameter.numel() for parameter in theirs.values())
    assert in_memory(spec) == {key: tuple(value.shape) for key, value in theirs.items()}
    state = {key: value.numel() for key, value in model.state_dict().items()}
    assert sorted(row.num_elements for row in weights(spec) if row.name.endswith(CORRECTION_BIAS)) == sorted(
        number for key, number in state.items() if key.endswith(CORRECTION_BIAS)
    )
    if not spec.quantised:
        ours = (row for row in weights(spec) if not row.name.endswith(CORRECTION_BIAS))
        assert sum(row.num_bytes for row in ours) == sum(value.nbytes for value in theirs.values())


VISION: dict[str, dict[str, Any]] = {
    "gemma3": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
        "vision_use_head": False,
    },
    "llama4": {
        "model_type": "llama4_vision_model",
        "hidden_size": 1408,
        "intermediate_size": 5632,
        "num_hidden_layers": 34,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
        "projector_input_dim": 4096,
        "projector_output_dim": 4096,
        "vision_output_dim": 4096,
    },
}
"""vision_config of their config.json."""


@pytest.mark.parametrize(
    "name", [key for key in model_names() if "with_vision" in catalog_entries()[key]["published"]]
)
def test_with_what_is_left_out_a_wrapped_model_has_the_published_size(name: str) -> None:
    config, published = catalog_entries()[name]["config"], catalog_entries()[name]["published"]
    parts = {"text_config": config["text_config"], "vision_config": VISION[config["model_type"]]}
    with torch.device("meta"):
        whole = AutoModelForImageTextToText.from_config(AutoConfig.for_model(config["model_type"], **parts))
    assert sum(value.numel() for value in whole.parameters()) == published["with_vision"]
    decoder = sum(
        value.numel() for key, value in whole.named_parameters() if "vision" not in key and "modal" not in key
    )
    assert decoder == num_parameters(find_model(name))


@st.composite
def odd_configs(draw: st.DrawFn, family: str) -> dict[str, Any]:
    """Small configs of odd sizes, with the options that a family has."""
    size = st.integers(1, 9)
    num_kv_heads, group, num_layers = draw(size), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    config: dict[str, Any] = {
        "model_type": family,
        "vocab_size": draw(st.integers(5, 77)),
        "hidden_size": num_kv_heads * group * 2 * draw(size),
        "intermediate_size": draw(st.integers(1, 33)),
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_kv_heads * group,
        "num_key_value_heads": num_kv_heads,
        "tie_word_embeddings": draw(st.booleans()),
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    flag, some = st.booleans(), st.integers(1, 6)
    kinds = st.sampled_from(["sliding_attention", "full_attention"])
    latent: dict[str, Any] = {
        "attention_bias": flag,
        "q_lora_rank": st.none() | some,
        "kv_lora_rank": some,
        "qk_nope_head_dim": some,
        "qk_rope_head_dim": some.map(lambda half: 2 * half),
        "v_head_dim": some,
        "n_routed_experts": st.sampled_from([8, 16]),
        "num_experts_per_tok": st.just(4),
        "n_shared_experts": st.integers(1, 3),
        "moe_intermediate_size": st.integers(1, 17),
        "first_k_dense_replace": st.integers(0, 6),
    }
    options: dict[str, dict[str, Any]] = {
        "llama": {
            "attention_bias": flag,
            "mlp_bias": flag,
            "head_dim": st.none() | size.map(lambda half: 2 * half),
        },
        "mistral": {"head_dim": size.map(lambda half: 2 * half), "sliding_window": st.none()},
        "mixtral": {"num_local_experts": st.integers(2, 7), "num_experts_per_tok": st.just(2)},
        "qwen2": {},
        "qwen3": {"head_dim": size.map(lambda half: 2 * half), "attention_bias": flag},
        "qwen3_moe": {
            "head_dim": size.map(lambda half: 2 * half),
            "attention_bias": flag,
            "num_experts": st.integers(2, 7),
            "num_experts_per_tok": st.just(2),
            "moe_intermediate_size": st.integers(1, 17),
            "decoder_sparse_step": st.integers(1, 3),
            "mlp_only_layers": st.lists(st.integers(0, num_layers - 1), unique=True),
        },
        "olmoe": {
            "attention_bias": flag,
            "num_experts": st.integers(2, 7),
            "num_experts_per_tok": st.just(2),
            "clip_qkv": st.none() | st.just(8.0),
        },
        "deepseek_v2": latent,
        "deepseek_v3": latent | {"num_nextn_predict_layers": st.integers(0, 2)},
        "gpt_oss": {
            "head_dim": size.map(lambda half: 2 * half),
            "attention_bias": flag,
            "num_local_experts": st.integers(2, 7),
            "num_experts_per_tok": st.just(2),
            "sliding_window": some,
            "layer_types": st.none() | st.lists(kinds, min_size=num_layers, max_size=num_layers),
        },
        "qwen2_moe": {
            "num_experts": st.integers(2, 7),
            "num_experts_per_tok": st.just(2),
            "moe_intermediate_size": st.integers(1, 17),
            "shared_expert_intermediate_size": st.integers(1, 17),
            "decoder_sparse_step": st.integers(1, 3),
        },
        "gemma2": {"head_dim": size.map(lambda half: 2 * half), "attention_bias": flag},
        "gemma3_text": {
            "head_dim": size.map(lambda half: 2 * half),
            "attention_bias": flag,
            "sliding_window": some,
            "sliding_window_pattern": st.integers(1, 4),
        },
        "phi3": {"sliding_window": st.none() | some, "rope_parameters": st.none()},
        "granite": {"attention_bias": flag, "mlp_bias": flag},
        "llama4_text": {
            "head_dim": size.map(lambda half: 2 * half),
            "attention_bias": flag,
            "intermediate_size_mlp": st.integers(1, 33),
            "num_local_experts": st.integers(2, 7),
            "interleave_moe_layer_step": st.integers(1, 3),
            "attention_chunk_size": some,
        },
        "glm4_moe": {
            "head_dim": size.map(lambda half: 2 * half),
            "attention_bias": flag,
            "use_qk_norm": flag,
            "n_routed_experts": st.sampled_from([8, 16]),
            "n_shared_experts": st.integers(1, 3),
            "moe_intermediate_size": st.integers(1, 17),
            "first_k_dense_replace": st.integers(0, 6),
        },
        "minimax_m2": {
            "head_dim": size.map(lambda half: 2 * half),
            "num_local_experts": st.integers(2, 7),
            "num_experts_per_tok": st.just(2),
        },
        "ernie4_5": {"head_dim": size.map(lambda half: 2 * half)},
        "ernie4_5_moe": {
            "moe_num_experts": st.integers(2, 7),
            "moe_k": st.just(2),
            "moe_intermediate_size": st.integers(1, 17),
            "moe_num_shared_experts": st.integers(0, 2),
            "moe_layer_start_index": st.integers(0, 2),
            "moe_layer_end_index": st.sampled_from([-1, 1, 3]),
            "moe_layer_interval": st.integers(1, 2),
        },
        "hunyuan_v1_moe": {
            "head_dim": size.map(lambda half: 2 * half),
            "attention_bias": flag,
            "num_experts": st.integers(2, 7),
            "moe_topk": st.just(2),
        },
        "dots1": {
            "head_dim": size.map(lambda half: 2 * half),
            "attention_bias": flag,
            "n_routed_experts": st.sampled_from([8, 16]),
            "n_shared_experts": st.integers(1, 3),
            "num_experts_per_tok": st.just(2),
            "moe_intermediate_size": st.integers(1, 17),
            "first_k_dense_replace": st.integers(0, 6),
            "sliding_window": st.none() | some,
            "max_window_layers": st.integers(0, 5),
        },
    }
    return config | {key: draw(strategy) for key, strategy in options[family].items()}


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(data=st.data())
def test_odd_models_hold_what_transformers_builds(family: str, data: st.DataObject) -> None:
    config = data.draw(odd_configs(family))
    assert_same(config)
    built, spec = AutoConfig.for_model(**config), read_config(config, name="oracle")
    types = getattr(built, "layer_types", None)
    if types is not None:
        windowed = [layer for layer, kind in enumerate(types) if kind != "full_attention"]
        assert list(spec.windowed_layers) == windowed


def on_disk(model: Any, folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that save_pretrained writes."""
    model.save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "pt") as tensors:
        return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118


def expanded(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Our rows with every expert by name."""
    return {
        row.name.replace("{expert}", str(expert)): row.tensor_shape
        for row in weights(spec)
        for expert in range(max(1, row.num_experts))
    }


TINY = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
EXPERTS = {"moe_intermediate_size": 12, "num_experts_per_tok": 2}
LATENT = {"q_lora_rank": 6, "kv_lora_rank": 5, "qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "v_head_dim": 3}
GROUPS = {"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1}
DISK = {
    "llama": TINY | HEADS | {"attention_bias": True, "mlp_bias": True},
    "mistral": TINY | HEADS | {"sliding_window": None},
    "mixtral": TINY | HEADS | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2": TINY | HEADS,
    "qwen3": TINY | HEADS | {"head_dim": 8, "tie_word_embeddings": True},
    "qwen3_moe": TINY | HEADS | EXPERTS | {"head_dim": 8, "num_experts": 4, "mlp_only_layers": [1]},
    "olmoe": TINY | HEADS | {"num_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v2": TINY | {"num_attention_heads": 4} | EXPERTS | LATENT | GROUPS | {"q_lora_rank": None},
    "deepseek_v3": TINY | {"num_attention_heads": 4} | EXPERTS | LATENT | GROUPS,
    "gpt_oss": TINY | HEADS | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": TINY | HEADS | EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 20},
    "gemma2": TINY | HEADS | {"head_dim": 8},
    "gemma3_text": TINY | HEADS | {"head_dim": 8},
    "phi3": TINY | HEADS | {"sliding_window": 5},
    "granite": TINY | HEADS | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "llama4_text": TINY
    | HEADS
    | {"head_dim": 8, "intermediate_size_mlp": 28, "num_local_experts": 4, "interleave_moe_layer_step": 2},
    "glm4_moe": TINY
    | HEADS
    | EXPERTS
    | GROUPS
    | {"head_dim": 8, "attention_bias": True, "use_qk_norm": True},
    "minimax_m2": TINY | HEADS | {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    "ernie4_5": TINY | HEADS | {"head_dim": 8},
    "ernie4_5_moe": TINY
    | HEADS
    | {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 12, "moe_num_shared_experts": 2},
    "hunyuan_v1_moe": TINY | HEADS | {"head_dim": 8, "num_experts": 4, "moe_topk": 2},
    "dots1": TINY
    | HEADS
    | EXPERTS
    | {"head_dim": 8, "n_routed_experts": 4, "n_shared_experts": 2, "first_k_dense_replace": 1}
    | {"sliding_window": None},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_names_are_those_of_the_checkpoint(family: str, tmp_path: Path) -> None:
    """Also: a config.json written by transformers 5 is read back to the same rows."""
    config = {"model_type": family, "pad_token_id": 0, **DISK[family]}
    written = on_disk(build(config, "cpu"), tmp_path)
    assert expanded(read_config(config, name=family)) == written
    assert expanded(read_config(tmp_path, name=family)) == written


@pytest.mark.parametrize(
    ("family", "decoder"), [("mistral3", "mistral"), ("gemma3", "gemma3_text"), ("llama4", "llama4_text")]
)
def test_a_wrapped_decoder_has_the_names_of_its_checkpoint(family: str, decoder: str, tmp_path: Path) -> None:
    tiny = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision = VISION.get(family, {"model_type": "pixtral"}) | tiny
    config = AutoConfig.for_model(
        family,
        text_config={"model_type": decoder, "pad_token_id": 0, **DISK[decoder]},
        vision_config=vision,
        tie_word_embeddings=family == "gemma3",
    )
    written = on_disk(AutoModelForImageTextToText.from_config(config), tmp_path)
    decoder_alone = {name: shape for name, shape in written.items() if name.startswith("language_model.")}
    assert expanded(read_config(tmp_path, name="wrapped")) == decoder_alone
