"""Rows of weights: what a sharding needs to know of them, stored bytes, ties."""

import time
from math import prod

import pytest

from shardwright.model.catalog import find_model, model_names
from shardwright.model.spec import GQA, Experts, ModelSpec
from shardwright.model.weight import SHARDINGS
from shardwright.model.weights import (
    bytes_by_part,
    layer_weights,
    num_active_parameters,
    num_parameters,
    output_head,
    weights,
)

REFERENCE = ModelSpec(
    name="reference",
    family="generic",
    num_layers=16,
    hidden=4096,
    vocab=32_000,
    attention=GQA(num_heads=32, num_kv_heads=8, head_dim=128),
    experts=Experts(num_experts=64, top_k=2, width=2304),
)
"""A stated model: 64 experts in 16 layers, 60 GB in bf16, 96.9 % of it experts."""


def test_a_stated_model_has_its_bytes() -> None:
    attention, experts, router = 2 * 4096 * (4096 + 1024), 64 * 3 * 4096 * 2304, 64 * 4096
    total = 16 * (attention + experts + router + 2 * 4096) + 2 * 32_000 * 4096 + 4096
    parts = bytes_by_part(REFERENCE)
    assert num_parameters(REFERENCE) == total == 29_928_591_360
    assert sum(parts.values()) == 2 * total
    assert parts["expert"] / sum(parts.values()) == pytest.approx(0.969, abs=0.0005)
    assert (parts["dense"], parts["shared"]) == (0, 0)
    assert num_active_parameters(REFERENCE) == num_parameters(REFERENCE) - 62 * 16 * 3 * 4096 * 2304


def test_a_generic_model_has_the_names_of_qwen3_moe() -> None:
    names = [row.name for row in layer_weights(REFERENCE, 15)]
    assert names == [
        "model.layers.15.self_attn.q_proj.weight",
        "model.layers.15.self_attn.k_proj.weight",
        "model.layers.15.self_attn.v_proj.weight",
        "model.layers.15.self_attn.o_proj.weight",
        "model.layers.15.input_layernorm.weight",
        "model.layers.15.post_attention_layernorm.weight",
        "model.layers.15.mlp.gate.weight",
        "model.layers.15.mlp.experts.{expert}.gate_proj.weight",
        "model.layers.15.mlp.experts.{expert}.up_proj.weight",
        "model.layers.15.mlp.experts.{expert}.down_proj.weight",
    ]


@pytest.mark.parametrize("name", model_names())
def test_layers_are_the_middle_of_the_whole(name: str) -> None:
    spec = find_model(name)
    rows = weights(spec)
    middle = [row for layer in range(spec.num_layers) for row in layer_weights(spec, layer)]
    assert [row for row in rows if row.layer is not None] == middle
    outer = ["embedding", "norm"] if spec.tied_embeddings else ["embedding", "norm", "head"]
    assert [row.part for row in rows if row.layer is None] == outer
    assert len({(row.name, row.starts_at) for row in rows}) == len(rows)


@pytest.mark.parametrize("name", model_names())
def test_every_sharded_dim_holds_whole_units(name: str) -> None:
    for row in weights(find_model(name)):
        rule = SHARDINGS[row.sharding]
        assert (rule.unit == "element") == (row.num_units == 0)
        assert rule.dim is None or row.shape[rule.dim] % max(1, row.num_units) == 0
        assert rule.per_slot == (row.num_experts > 0) == (row.part == "expert")


def test_block_fp8_spares_embedding_head_norms_and_router() -> None:
    spec = find_model("deepseek-ai/DeepSeek-V3")
    stored = {row.bytes_per_element: row.part for row in weights(spec)}
    # One fp32 scale for 128 x 128 values; 576 rows of kv_a_proj_with_mqa are 4.5 blocks, and have 5.
    blocks, latent = 1 + 4 / 128**2, 1 + 4 * 5 * 56 / (576 * 7168)
    assert set(stored) == {blocks, latent, 2.0, 4.0}
    assert {row.part for row in weights(spec) if row.bytes_per_element == blocks} == {
        "attention",
        "dense",
        "shared",
        "expert",
    }
    assert bytes_by_part(spec)["expert"] == 58 * 256 * 3 * (7168 * 2048 + 4 * 56 * 16)
    assert bytes_by_part(spec)["router"] == 58 * (256 * 7168 * 2 + 256 * 4)
    assert bytes_by_part(spec)["embedding"] == 129_280 * 7168 * 2


def test_biases_and_full_precision_keep_their_bytes() -> None:
    attention = REFERENCE.attention.model_copy(update={"qkv_bias": True, "output_bias": True})
    quantised = REFERENCE.model_copy(update={"attention": attention, "weight_dtype": "int4"})
    for row in weights(quantised):
        expected = 0.5 if len(row.shape) == 2 and row.part in ("attention", "expert") else 2.0
        assert row.bytes_per_element == expected
    full = REFERENCE.model_copy(update={"weight_dtype": "fp32"})
    assert sum(bytes_by_part(full).values()) == 4 * num_parameters(full)


def test_a_bias_of_a_summed_output_lives_on_one_rank() -> None:
    attention = REFERENCE.attention.model_copy(update={"qkv_bias": True, "output_bias": True})
    spec = REFERENCE.model_copy(
        update={"attention": attention, "experts": None, "dense_width": 8, "mlp_bias": True}
    )
    shardings = {row.name.split(".", 3)[-1]: row.sharding for row in layer_weights(spec, 0)}
    assert {name: rule for name, rule in shardings.items() if name.endswith("bias")} == {
        "self_attn.q_proj.bias": "heads",
        "self_attn.k_proj.bias": "kv_heads",
        "self_attn.v_proj.bias": "kv_heads",
        "self_attn.o_proj.bias": "first_rank",
        "mlp.gate_proj.bias": "column",
        "mlp.up_proj.bias": "column",
        "mlp.down_proj.bias": "first_rank",
    }


def test_norms_over_all_heads_are_shared_out_by_head() -> None:
    """OLMoE normalises the whole projection."""
    attention = REFERENCE.attention.model_copy(update={"qk_norm": "full"})
    rows = layer_weights(REFERENCE.model_copy(update={"attention": attention}), 0)
    norms = [(row.shape, row.sharding, row.num_units) for row in rows if "_norm" in row.name]
    assert norms == [((4096,), "heads", 32), ((1024,), "kv_heads", 8)]


def test_fused_experts_are_one_tensor_a_layer() -> None:
    """gpt-oss: matrices of order [in, out], gate and up interleaved in pairs; 32 experts in dim 0."""
    rows = [row for row in layer_weights(find_model("gpt-oss-20b"), 3) if row.part == "expert"]
    assert [(row.name.split(".")[-1], row.tensor_shape, row.sharding, row.num_units) for row in rows] == [
        ("gate_up_proj", (32, 2880, 5760), "expert_pairs", 2880),
        ("down_proj", (32, 2880, 2880), "expert_row_in_out", 0),
        ("gate_up_proj_bias", (32, 5760), "expert_pairs_bias", 2880),
        ("down_proj_bias", (32, 2880), "expert_first_rank", 0),
    ]
    assert [row.bytes_per_element for row in rows] == [17 / 32, 17 / 32, 2, 2]
    assert all(row.num_elements == prod(row.tensor_shape) for row in rows)


def test_sinks_biases_and_router_of_gpt_oss() -> None:
    rows = layer_weights(find_model("gpt-oss-120b"), 0)
    found = {row.name.split(".", 3)[-1]: (row.shape, row.sharding, row.num_units) for row in rows}
    assert found["self_attn.sinks"] == ((64,), "heads", 64)
    assert found["self_attn.k_proj.bias"] == ((512,), "kv_heads", 8)
    assert found["self_attn.o_proj.bias"] == ((2880,), "first_rank", 0)
    assert found["mlp.router.weight"] == ((128, 2880), "replicate", 0)
    assert found["mlp.router.bias"] == ((128,), "replicate", 0)
    assert {row.bytes_per_element for row in rows if row.part != "expert"} == {2.0}


def test_single_experts_may_have_biases() -> None:
    experts = REFERENCE.experts.model_copy(update={"bias": True})  # type: ignore[union-attr]
    rows = layer_weights(REFERENCE.model_copy(update={"experts": experts}), 0)
    assert {
        row.name.split(".")[-2]: (row.shape, row.sharding)
        for row in rows
        if "expert}" in row.name and "bias" in row.name
    } == {
        "gate_proj": ((2304,), "expert_column"),
        "up_proj": ((2304,), "expert_column"),
        "down_proj": ((4096,), "expert_first_rank"),
    }


@pytest.mark.parametrize(
    "fields", [{"window": 8}, {"windowed_layers": (0,)}, {"window": 8, "windowed_layers": (16,)}]
)
def test_a_window_is_stated_with_its_layers(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="windowed_layers"):
        ModelSpec.model_validate(REFERENCE.model_dump() | fields)


def test_a_gated_shared_expert_has_a_gate() -> None:
    """Qwen1.5-MoE-A2.7B: four shared experts of 1408 under one sigmoid gate."""
    experts = Experts(num_experts=60, top_k=4, width=1408, shared_width=5632, shared_gate=True)
    spec = REFERENCE.model_copy(update={"experts": experts, "family": "qwen2_moe"})
    shared = {row.name: row.shape for row in layer_weights(spec, 0) if row.part == "shared"}
    assert shared == {
        "model.layers.0.mlp.shared_expert.gate_proj.weight": (5632, 4096),
        "model.layers.0.mlp.shared_expert.up_proj.weight": (5632, 4096),
        "model.layers.0.mlp.shared_expert.down_proj.weight": (4096, 5632),
        "model.layers.0.mlp.shared_expert_gate.weight": (1, 4096),
    }


def test_a_tied_head_is_a_copy_of_the_embedding() -> None:
    tied = REFERENCE.model_copy(update={"tied_embeddings": True})
    assert num_parameters(REFERENCE) - num_parameters(tied) == 32_000 * 4096
    assert all(row.part != "head" for row in weights(tied))
    assert (output_head(tied).name, output_head(tied).part) == ("model.embed_tokens.weight", "head")
    assert output_head(REFERENCE) == weights(REFERENCE)[-1]
    assert output_head(tied).num_bytes == 2 * prod(output_head(REFERENCE).shape)


def test_the_rows_of_deepseek_take_a_few_milliseconds() -> None:
    spec = find_model("deepseek-ai/DeepSeek-V3")
    started = time.process_time()
    for _ in range(10):
        weights(spec)
    assert (time.process_time() - started) / 10 < 0.025
