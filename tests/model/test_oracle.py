"""The parameter counts, names and shapes of transformers 5.23.0, built without memory or written to disk."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, Mistral3Config, Mistral3ForConditionalGeneration

from shardwright.model.catalog import catalog_entries, model_names
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
)


def build(config: dict[str, Any], device: str = "meta") -> torch.nn.Module:
    """The model of transformers for a config.json's content."""
    stated = {key: value for key, value in config.items() if key not in ("model_type", "quantization_config")}
    with torch.device(device):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **stated))


def in_memory(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Our rows as transformers 5 holds them: experts fused, [gate; up] packed, Mixtral's block called mlp."""
    shapes = {}
    for row in weights(spec):
        name = row.name.replace("block_sparse_moe", "mlp")
        if row.fused_experts:
            shapes[name] = row.tensor_shape
        elif row.num_experts and row.sharding == "expert_row":
            shapes[f"model.layers.{row.layer}.mlp.experts.down_proj"] = (row.num_experts, *row.shape)
        elif row.num_experts:
            width, hidden = row.shape
            fused = f"model.layers.{row.layer}.mlp.experts.gate_up_proj"
            shapes[fused] = (row.num_experts, 2 * width, hidden)
        elif not name.endswith(CORRECTION_BIAS):
            shapes[name] = row.shape
    return shapes


def assert_same(config: dict[str, Any]) -> None:
    """Every parameter has our name and shape, and the totals agree exactly."""
    spec, model = read_config(config, name="oracle"), build(config)
    assert num_parameters(spec) == sum(parameter.numel() for parameter in model.parameters())
    assert in_memory(spec) == {name: tuple(value.shape) for name, value in model.named_parameters()}


@pytest.mark.parametrize("name", model_names())
def test_catalog_models_hold_what_transformers_builds(name: str) -> None:
    config = catalog_entries()[name]["config"]
    spec = read_config(config, name=name)
    model = build({"torch_dtype": config.get("torch_dtype"), **config.get("text_config", config)})
    assert num_parameters(spec) == sum(parameter.numel() for parameter in model.parameters())
    if spec.family != "mistral3":
        assert in_memory(spec) == {key: tuple(value.shape) for key, value in model.named_parameters()}
    biases = [row for row in weights(spec) if row.name.endswith(CORRECTION_BIAS)]
    buffers = {key: tuple(value.shape) for key, value in model.named_buffers()}
    assert {row.name: row.shape for row in biases} == {
        key: shape for key, shape in buffers.items() if key.endswith(CORRECTION_BIAS)
    }


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
    }
    return config | {key: draw(strategy) for key, strategy in options[family].items()}


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(data=st.data())
def test_odd_models_hold_what_transformers_builds(family: str, data: st.DataObject) -> None:
    assert_same(data.draw(odd_configs(family)))


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
}


@pytest.mark.parametrize("family", FAMILIES)
def test_names_are_those_of_the_checkpoint(family: str, tmp_path: Path) -> None:
    """Also: a config.json written by transformers 5 is read back to the same rows."""
    config = {"model_type": family, "pad_token_id": 0, **DISK[family]}
    written = on_disk(build(config, "cpu"), tmp_path)
    assert expanded(read_config(config, name=family)) == written
    assert expanded(read_config(tmp_path, name=family)) == written


def test_a_wrapped_decoder_has_the_names_of_its_checkpoint(tmp_path: Path) -> None:
    vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    text = {"model_type": "mistral", **DISK["mistral"]}
    config = Mistral3Config(
        text_config=text, vision_config={"model_type": "pixtral", **vision}, tie_word_embeddings=False
    )
    written = on_disk(Mistral3ForConditionalGeneration(config), tmp_path)
    decoder = {name: shape for name, shape in written.items() if name.startswith("language_model.")}
    assert expanded(read_config(tmp_path, name="wrapped")) == decoder
