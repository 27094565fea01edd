"""quantization_config: which modules each method converts, and the bytes of each, by hand."""

from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import FineGrainedFP8Config
from transformers.integrations.finegrained_fp8 import replace_with_fp8_linear

from shardwright.errors import InputError
from shardwright.model.catalog import catalog_entries, find_model
from shardwright.model.hf import read_config
from shardwright.model.scheme import Scheme
from shardwright.model.spec import ModelSpec
from shardwright.model.weights import CORRECTION_BIAS, layer_weights, weights
from tests.model.test_oracle import catalog_model, parameters

LLAMA = {
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 256,
    "intermediate_size": 320,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
MOE = LLAMA | {
    "model_type": "deepseek_v3",
    "q_lora_rank": 48,
    "kv_lora_rank": 40,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "first_k_dense_replace": 1,
}


def read(config: dict[str, Any], quantisation: dict[str, Any]) -> ModelSpec:
    return read_config(config | {"quantization_config": quantisation}, name="m", where="config.json")


def bytes_of(spec: ModelSpec, end: str) -> float:
    """Bytes of the one weight whose name ends so, one expert's for an expert."""
    (row,) = [row for row in weights(spec) if row.name.endswith(f"{end}.weight")]
    return row.shape_bytes


def converted(spec: ModelSpec) -> set[str]:
    return {module for group in spec.quantised for module in group.modules}


ATTENTION = {f"self_attn.{name}_proj" for name in "qkvo"}
DENSE = {f"mlp.{name}_proj" for name in ("gate", "up", "down")}

NUM_OUT, NUM_IN = 320, 256
"""Of layers.1.mlp.gate_proj."""

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True}


def groups(weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    """compressed-tensors with one group."""
    group = {"targets": ["Linear"], "weights": weights, "input_activations": more.pop("inputs", None)}
    stated = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    return stated | {"ignore": ["lm_head"]} | more


INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}
FP8 = {"num_bits": 8, "type": "float", "symmetric": True}
FP4 = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}


@pytest.mark.parametrize(
    ("stated", "dtype", "num_bytes"),
    [
        # One fp32 scale a tensor; static activations have one more.
        ({"quant_method": "fp8"}, "fp8", 320 * 256 + 4),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8", 320 * 256 + 4 + 4),
        # 320 x 256 in blocks of 128 x 128: 3 x 2 of them.
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 320 * 256 + 3 * 2 * 4),
        ({"quant_method": "fbgemm_fp8"}, "fp8", 320 * 256 + 320 * 4 + 4),
        # qweight, scales and qzeros of [in / group, out].
        (AWQ, "int4", 320 * 256 // 2 + 4 * 320 * 2 + 4 * 320 // 2),
        (AWQ | {"zero_point": False}, "int4", 320 * 256 // 2 + 4 * 320 * 2),
        # The same, and g_idx: int32 for each input.
        (GPTQ, "int4", 320 * 256 // 2 + 2 * 320 * 2 + 2 * 320 // 2 + 256 * 4),
        (GPTQ | {"bits": 8, "group_size": -1}, "int8", 320 * 256 + 320 * 2 + 320 + 256 * 4),
        # weight_packed, weight_scale, and weight_shape: two int64.
        (groups(INT4, format="pack-quantized"), "int4", 320 * 256 // 2 + 320 * 8 * 2 + 16),
        (
            groups(INT4 | {"symmetric": False, "actorder": "group"}, format="pack-quantized"),
            "int4",
            320 * 256 // 2 + 320 * 8 * 2 + 320 * 8 // 2 + 256 * 4 + 16,
        ),
        (groups(FP8 | {"strategy": "channel"}, inputs={"dynamic": True}), "fp8", 320 * 256 + 320 * 2),
        (groups(FP8 | {"strategy": "tensor"}, inputs={"dynamic": False}), "fp8", 320 * 256 + 2 + 2),
        (
            groups(FP8 | {"strategy": "block", "block_structure": [128, 128]}),
            "fp8",
            320 * 256 + 3 * 2 * 2,
        ),
        (groups(FP8 | {"type": "int", "strategy": "channel"}), "int8", 320 * 256 + 320 * 2),
        (groups(FP4), "fp4", 320 * 256 // 2 + 320 * 16 + 4),
        (groups(FP4, inputs={"num_bits": 4}), "fp4", 320 * 256 // 2 + 320 * 16 + 4 + 4),
        (groups(FP4 | {"strategy": "group", "group_size": 32}), "mxfp4", 320 * 256 // 2 + 320 * 8),
        ({"quant_algo": "FP8"}, "fp8", 320 * 256 + 4 + 4),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "fp4", 320 * 256 // 2 + 320 * 16 + 8),
    ],
)
def test_bytes_of_a_matrix(stated: dict[str, Any], dtype: str, num_bytes: int) -> None:
    spec = read(LLAMA, stated)
    assert spec.weight_dtype == dtype
    assert bytes_of(spec, "layers.1.mlp.gate_proj") == num_bytes
    assert bytes_of(spec, "embed_tokens") == 100 * 256 * 2
    assert bytes_of(spec, "layers.0.input_layernorm") == 256 * 2


def test_a_row_that_is_no_whole_word_is_padded() -> None:
    """41 inputs of 4 bits are six words of int32, and in bytes 21."""
    packed = Scheme(dtype="int4", bits=4, word_bits=32, scale_bytes=0)
    assert packed.num_bytes(3, 41) == 3 * 6 * 4
    assert packed.model_copy(update={"word_bits": 8}).num_bytes(3, 41) == 3 * 21
    zeros = packed.model_copy(update={"block": (1, 8), "zero_bits": 4})
    assert zeros.num_bytes(3, 41) - packed.num_bytes(3, 41) == 6 * 4, "three zero points fill a word"


@given(num_out=st.integers(1, 999), num_in=st.integers(1, 999), block=st.tuples(*[st.integers(0, 200)] * 2))
def test_scales_cover_the_matrix(num_out: int, num_in: int, block: tuple[int, int]) -> None:
    scheme = Scheme(dtype="fp8", bits=8, block=block, scale_bytes=4)
    scales = [ceil(size / each) if each else 1 for size, each in zip((num_out, num_in), block, strict=True)]
    assert scheme.num_bytes(num_out, num_in) == num_out * num_in + 4 * scales[0] * scales[1]


@given(block=st.tuples(st.integers(1, 64), st.integers(1, 64)), bits=st.sampled_from([4, 8]))
def test_the_mean_is_that_of_a_matrix_of_whole_blocks(block: tuple[int, int], bits: int) -> None:
    scheme = Scheme(dtype="int4", bits=bits, block=block, scale_bytes=2, zero_bits=bits)
    num_out, num_in = 64 * block[0], 64 * block[1]
    assert scheme.num_bytes(num_out, num_in) / (num_out * num_in) == pytest.approx(scheme.mean_bytes)


@pytest.mark.parametrize(
    ("stated", "modules"),
    [
        ({"quant_method": "fp8"}, ATTENTION | DENSE),
        ({"quant_method": "fp8", "modules_to_not_convert": ["self_attn", "lm_head"]}, DENSE),
        ({"quant_method": "fp8", "ignored_layers": ["q_proj"]}, ATTENTION - {"self_attn.q_proj"} | DENSE),
        ({"quant_algo": "FP8", "exclude_modules": ["*self_attn*", "lm_head"]}, DENSE),
        ({"quant_algo": "FP8", "exclude_modules": ["model.layers.*.mlp*"]}, ATTENTION | {"lm_head"}),
        (groups(FP8 | {"strategy": "tensor"}), ATTENTION | DENSE),
        (groups(FP8 | {"strategy": "tensor"}, ignore=["re:.*self_attn.*", "re:lm_head"]), DENSE),
        (groups(FP8 | {"strategy": "tensor"}, ignore=[]), ATTENTION | DENSE | {"lm_head"}),
        (GPTQ | {"lm_head": True}, ATTENTION | DENSE | {"lm_head"}),
        (GPTQ | {"dynamic": {"-:.*mlp": {}}}, ATTENTION),
    ],
)
def test_lists_say_what_is_converted(stated: dict[str, Any], modules: set[str]) -> None:
    spec = read(LLAMA, stated)
    assert converted(spec) == modules
    assert all(group.layers is None for group in spec.quantised)


def test_a_scheme_may_hold_in_some_layers_only() -> None:
    """As in Llama-3.1-405B-FP8, whose first and last layer stay in 16 bits."""
    left = ["model.layers.0", "model.layers.2", "self_attn"]
    spec = read(LLAMA, {"quant_method": "fbgemm_fp8", "modules_to_not_convert": left})
    (group,) = spec.quantised
    assert (set(group.modules), group.layers) == (DENSE, (1,))
    assert [shape.stored for shape in spec.layer_shapes] == [0, 1, 0]
    sizes = [sum(row.num_bytes for row in layer_weights(spec, layer)) for layer in range(3)]
    assert sizes[0] == sizes[2] == 2 * (3 * 256 * 320 + 3 * 256 * 256 + 2 * 256)
    saved = 3 * 256 * 320 - 4 * (2 * 320 + 256) - 3 * 4
    assert sizes[0] - sizes[1] == saved
    assert sum(row.num_bytes for row in weights(spec)) == sum(sizes) + 2 * (2 * 100 * 256 + 256)


def test_a_router_is_never_converted_and_experts_may_have_a_scheme_of_their_own() -> None:
    """As in a mixed checkpoint: experts of int4, attention of fp8, the rest as it was."""
    experts = {"targets": ["re:.*mlp.experts.*"], "weights": INT4, "format": "pack-quantized"}
    attention = {"targets": ["re:.*self_attn.(q_b|kv_b|o)_proj"], "weights": FP8 | {"strategy": "channel"}}
    stated = {"quant_method": "compressed-tensors", "config_groups": {"a": experts, "b": attention}}
    spec = read(MOE, stated)
    by_dtype = {group.scheme.dtype: set(group.modules) for group in spec.quantised}
    assert by_dtype["int4"] == {f"mlp.experts.{name}_proj" for name in ("gate", "up", "down")}
    assert by_dtype["fp8"] == {f"self_attn.{name}_proj" for name in ("q_b", "kv_b", "o")}
    assert (spec.expert_dtype, spec.weight_dtype) == ("int4", "bf16")
    assert spec.expert_bytes == 0.5 + 2 / 32
    assert bytes_of(spec, "layers.1.mlp.gate") == 4 * 256 * 2
    assert bytes_of(spec, "layers.1.mlp.experts.{expert}.gate_proj") == 64 * 256 // 2 + 64 * 8 * 2 + 16


def test_mixed_precision_names_each_module() -> None:
    listed = {
        "model.layers.0.mlp.down_proj": {"quant_algo": "FP8"},
        "model.layers.1.mlp.down_proj": {"quant_algo": "NVFP4", "group_size": 16},
    }
    spec = read(LLAMA, {"quant_algo": "MIXED_PRECISION", "quantized_layers": listed})
    assert {(group.scheme.dtype, group.layers) for group in spec.quantised} == {("fp8", (0,)), ("fp4", (1,))}
    assert converted(spec) == {"mlp.down_proj"}


@pytest.mark.parametrize(
    ("scheme", "dtype"),
    [
        ({"kv_cache_quant_algo": "FP8"}, "fp8"),
        ({"kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False}}, "fp8"),
        ({"kv_cache_scheme": {"num_bits": 8, "type": "int"}}, "int8"),
        ({"kv_cache_quant_algo": None}, "bf16"),
        ({}, "bf16"),
    ],
)
def test_the_kv_cache_has_the_dtype_that_there_are_scales_for(scheme: dict[str, Any], dtype: str) -> None:
    assert read(LLAMA, {"quant_algo": "FP8"} | scheme).kv_dtype == dtype


@pytest.mark.parametrize(
    ("stated", "field"),
    [
        ({"quant_method": "bitsandbytes"}, "quant_method"),
        ({}, "quant_method"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "weight_block_size"),
        ({"quant_method": "fp8", "weight_block_size": [0, 128]}, "weight_block_size"),
        ({"quant_method": "fp8", "modules_to_not_convert": "lm_head"}, "modules_to_not_convert"),
        (AWQ | {"bits": 3}, "bits"),
        (AWQ | {"version": "marlin"}, "version"),
        (GPTQ | {"group_size": 0}, "group_size"),
        (GPTQ | {"dynamic": {"+:.*mlp": {"bits": 8}}}, "dynamic.+:.*mlp"),
        (GPTQ | {"dynamic": {"-:(": {}}}, "dynamic"),
        (GPTQ | {"modules_in_block_to_quantize": [["q_proj"]]}, "modules_in_block_to_quantize"),
        (groups(FP8 | {"strategy": "token"}), "config_groups.group_0.weights.strategy"),
        (groups(INT4 | {"num_bits": 6}), "config_groups.group_0.weights.num_bits"),
        (groups(FP8 | {"strategy": "tensor"}, ignore=["re:("]), "ignore"),
        (groups(FP8 | {"strategy": "tensor"}, ignore=["re:(([a-z]+)*[a-z.]*)*!"]), "ignore"),
        ({"quant_method": "compressed-tensors", "config_groups": []}, "config_groups"),
        ({"quant_algo": "W4A8_AWQ"}, "quant_algo"),
        ({"quant_algo": "FP8", "kv_cache_quant_algo": "NVFP4"}, "kv_cache_quant_algo"),
        ({"quant_algo": "FP8", "exclude_modules": ["*"]}, "quant_method"),
    ],
)
def test_what_is_not_modelled_is_refused(stated: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        read(LLAMA, stated)
    assert caught.value.field == f"quantization_config.{field}"
    assert caught.value.where == "config.json"


def test_published_checkpoints_keep_what_they_list() -> None:
    """NVFP4 of DeepSeek-V3.1 keeps all of attention but its last projection, MiniMax-M2.5's all of it."""
    deepseek, minimax = find_model("DeepSeek-V3.1-NVFP4"), find_model("nvidia/MiniMax-M2.5-NVFP4")
    assert {name for name in converted(deepseek) if "attn" in name} == {"self_attn.o_proj"}
    assert converted(minimax) == {f"block_sparse_moe.experts.w{number}" for number in (1, 2, 3)}
    assert (deepseek.expert_dtype, minimax.weight_dtype, minimax.expert_dtype) == ("fp4", "bf16", "fp4")
    assert (deepseek.kv_dtype, minimax.kv_dtype) == ("fp8", "fp8")
    assert minimax.expert_bytes == 0.5 + 1 / 16


BLOCK_FP8 = {
    str(entry["config"]): name
    for name, entry in catalog_entries().items()
    if entry["config"].get("quantization_config", {}).get("weight_block_size")
}
"""One model of each config: DeepSeek V3, R1 and V3.1 share theirs."""


@pytest.mark.parametrize("name", BLOCK_FP8.values())
def test_block_fp8_has_the_bytes_of_the_quantised_model(name: str) -> None:
    """Every value, scale and kept weight of the model that transformers makes to load the checkpoint into."""
    model, spec = catalog_model(name), find_model(name)
    left = ["lm_head", "mlp.gate"]
    block = FineGrainedFP8Config(weight_block_size=(128, 128), modules_to_not_convert=left)
    replaced = replace_with_fp8_linear(model, modules_to_not_convert=left, quantization_config=block)
    ours = (row for row in weights(spec) if not row.name.endswith(CORRECTION_BIAS))
    assert sum(row.num_bytes for row in ours) == sum(value.nbytes for value in parameters(replaced).values())
