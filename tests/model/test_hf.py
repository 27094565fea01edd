"""config.json -> ModelSpec: what is read, and that nothing but InputError ever comes of a bad one."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.errors import InputError
from shardwright.model.catalog import catalog_entries, model_names
from shardwright.model.hf import read_config
from shardwright.model.kv import kv_bytes_per_token
from shardwright.model.spec import GQA, MLA, Experts, LayerShape, ModelSpec
from shardwright.model.weights import num_active_parameters, num_parameters, weights
from tests.cli.test_fuzz import mutate

LLAMA = catalog_entries()["meta-llama/Llama-3.1-8B"]["config"]
QWEN_MOE = catalog_entries()["Qwen/Qwen3-30B-A3B"]["config"]
DEEPSEEK = catalog_entries()["deepseek-ai/DeepSeek-V3"]["config"]
MIXTRAL = catalog_entries()["mistralai/Mixtral-8x7B-v0.1"]["config"]
GPT_OSS = catalog_entries()["openai/gpt-oss-20b"]["config"]
WRAPPED = catalog_entries()["mistralai/Mistral-Small-3.1-24B-Instruct-2503"]["config"]


def read(config: dict[str, Any], **changed: Any) -> ModelSpec:
    return read_config(config | changed, name="m", where="config.json")


def without(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys}


def test_a_dense_model() -> None:
    assert read(LLAMA) == ModelSpec(
        name="m",
        family="llama",
        num_layers=32,
        hidden=4096,
        vocab=128_256,
        attention=GQA(num_heads=32, num_kv_heads=8, head_dim=128),
        dense_width=14_336,
        max_positions=131_072,
        source="config.json",
    )


def test_a_mixture_of_experts_without_dense_layers() -> None:
    spec = read(QWEN_MOE)
    assert spec.experts == Experts(num_experts=128, top_k=8, width=768)
    assert (spec.dense_width, spec.dense_layers) == (0, ())
    assert spec.attention == GQA(num_heads=32, num_kv_heads=4, head_dim=128, qk_norm="head")
    assert read(MIXTRAL).experts == Experts(num_experts=8, top_k=2, width=14_336)


def test_latent_attention_block_fp8_and_leading_dense_layers() -> None:
    spec = read(DEEPSEEK)
    assert spec.attention == MLA(
        num_heads=128,
        q_lora_rank=1536,
        kv_lora_rank=512,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
    )
    assert (spec.dense_layers, spec.dense_width) == ((0, 1, 2), 18_432)
    assert (spec.weight_dtype, spec.kv_dtype) == ("fp8", "bf16")
    assert spec.experts == Experts(
        num_experts=256,
        top_k=8,
        width=2048,
        shared_width=2048,
        correction_bias=True,
        groups=8,
        top_groups=4,
    )


def test_windows_sinks_biases_and_experts_of_four_bits() -> None:
    spec = read(GPT_OSS)
    assert spec.attention == GQA(
        num_heads=64, num_kv_heads=8, head_dim=64, qkv_bias=True, output_bias=True, sinks=True
    )
    assert spec.experts == Experts(
        num_experts=32, top_k=4, width=2880, router_bias=True, bias=True, weight_dtype="mxfp4"
    )
    assert (spec.weight_dtype, spec.expert_dtype) == ("bf16", "mxfp4")
    assert spec.layer_shapes[:2] == (LayerShape("moe", window=128), LayerShape("moe"))
    assert spec.windowed_layers == tuple(range(0, 24, 2))
    assert read(without(GPT_OSS, "quantization_config")).expert_dtype == "bf16"


def test_windows_stand_where_layer_types_says() -> None:
    types = ["full_attention", "sliding_attention", "sliding_attention"]
    some = read(GPT_OSS, num_hidden_layers=3, layer_types=types)
    assert (some.window, some.windowed_layers) == (128, (1, 2))
    none = read(GPT_OSS, num_hidden_layers=3, layer_types=["full_attention"] * 3, sliding_window=None)
    assert (none.window, none.windowed_layers) == (None, ())


def test_a_norm_over_the_whole_projection() -> None:
    spec = read(catalog_entries()["allenai/OLMoE-1B-7B-0924"]["config"], clip_qkv=8.0)
    assert spec.attention == GQA(num_heads=16, num_kv_heads=16, head_dim=128, qk_norm="full")
    assert spec.experts == Experts(num_experts=64, top_k=8, width=1024)


def test_latent_attention_without_a_latent_query() -> None:
    spec = read(catalog_entries()["deepseek-ai/DeepSeek-V2-Lite"]["config"])
    assert isinstance(spec.attention, MLA) and spec.attention.q_lora_rank is None
    assert spec.experts == Experts(num_experts=64, top_k=6, width=1408, shared_width=2816)
    assert (spec.dense_layers, spec.dense_width) == ((0,), 10_944)


def test_a_wrapped_decoder_names_what_is_left_out() -> None:
    spec = read(WRAPPED)
    assert (spec.family, spec.left_out) == ("mistral3", ("vision tower", "multimodal projector"))
    assert kv_bytes_per_token(spec) == 163_840


@pytest.mark.parametrize(
    ("step", "only", "dense"),
    [(1, [], ()), (1, [0, 2], (0, 2)), (2, [], (0, 2, 4)), (2, [1], (0, 1, 2, 4)), (3, None, (0, 1, 3, 4))],
)
def test_dense_layers_between_expert_layers(step: int, only: Any, dense: tuple[int, ...]) -> None:
    spec = read(QWEN_MOE, num_hidden_layers=5, decoder_sparse_step=step, mlp_only_layers=only)
    assert spec.dense_layers == dense
    assert spec.dense_width == (6144 if dense else 0)


def test_a_mixture_whose_layers_are_all_dense_is_dense() -> None:
    spec = read(DEEPSEEK, first_k_dense_replace=61)
    assert (spec.experts, spec.dense_layers) == (None, ())
    assert num_active_parameters(spec) == num_parameters(spec)


def test_what_is_unsaid_is_as_transformers_has_it() -> None:
    bare = read(without(LLAMA, "num_key_value_heads", "torch_dtype", "tie_word_embeddings"))
    assert bare.attention == GQA(num_heads=32, num_kv_heads=32, head_dim=128)
    assert (bare.tied_embeddings, bare.weight_dtype) == (False, "bf16")
    assert read(without(QWEN_MOE, "num_experts"), num_local_experts=128) == read(QWEN_MOE)
    qwen3 = catalog_entries()["Qwen/Qwen3-32B"]["config"]
    assert read(without(qwen3, "head_dim")) == read(qwen3)
    assert read(DEEPSEEK, q_lora_rank=None).attention.q_lora_rank is None  # type: ignore[union-attr]
    assert read(LLAMA, torch_dtype=None, dtype="float32").kv_bytes == 4


@pytest.mark.parametrize(
    ("config", "changed", "field", "allowed"),
    [
        (LLAMA, {"model_type": "qwen3_next"}, "model_type", "linear attention, which is not modelled"),
        (LLAMA, {"model_type": "llamb"}, "model_type", "one of llama, mistral, .*gpt_oss, .*mistral3"),
        (LLAMA, {"model_type": ["llama"]}, "model_type", "one of llama"),
        (LLAMA, {"hidden_size": True}, "hidden_size", "a whole number from 1"),
        (LLAMA, {"hidden_size": 4096.0}, "hidden_size", "a whole number"),
        (LLAMA, {"hidden_size": "4096"}, "hidden_size", "a whole number"),
        (LLAMA, {"hidden_size": None}, "hidden_size", "a whole number"),
        (LLAMA, {"hidden_size": 10**5000}, "hidden_size", "a whole number"),
        (LLAMA, {"hidden_size": 4100}, "num_attention_heads", "a divisor of hidden_size 4100"),
        (LLAMA, {"num_hidden_layers": 2001}, "num_hidden_layers", "from 1 to 2000"),
        (LLAMA, {"num_key_value_heads": 5}, "num_key_value_heads", "a divisor of num_attention_heads 32"),
        (LLAMA, {"attention_bias": 0}, "attention_bias", "true or false"),
        (LLAMA, {"torch_dtype": "float64"}, "torch_dtype", "one of bfloat16, float16, float32"),
        (LLAMA, {"dtype": 16}, "dtype", "one of bfloat16"),
        (
            LLAMA,
            {"quantization_config": {"quant_method": "aqlm"}},
            "quantization_config.quant_method",
            "one of fp8",
        ),
        (LLAMA, {"quantization_config": "fp8"}, "quantization_config", "an object"),
        (
            LLAMA,
            {"layer_types": ["full_attention", "linear_attention"]},
            "layer_types",
            "32 times full_attention",
        ),
        (
            LLAMA,
            {"quantization_config": {"quant_method": "mxfp4"}},
            "quantization_config.quant_method",
            "converts linear layers which llama has",
        ),
        (
            GPT_OSS,
            {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["mlp"]}},
            "quantization_config.quant_method",
            "converts linear layers",
        ),
        (GPT_OSS, {"layer_types": ["full_attention"]}, "layer_types", "24 times sliding_attention or full"),
        (GPT_OSS, {"layer_types": ["linear_attention"] * 24}, "layer_types", "24 times sliding_attention or"),
        (GPT_OSS, {"layer_types": 24}, "layer_types", "24 times sliding_attention or"),
        (GPT_OSS, {"sliding_window": None}, "sliding_window", "a whole number from 1"),
        (QWEN_MOE, {"use_sliding_window": 1}, "use_sliding_window", "true or false"),
        (MIXTRAL, {"sliding_window": 0}, "sliding_window", "a whole number from 1"),
        (LLAMA, {"sliding_window": 4096}, "sliding_window", "null"),
        (DEEPSEEK, {"index_topk": 2048}, "index_topk", "null: sparse attention is not modelled"),
        (QWEN_MOE, {"attn_type_list": [1, 0]}, "attn_type_list", "linear attention is not modelled"),
        (LLAMA, {"model_type": "mistral", "sliding_window": "4096"}, "sliding_window", "a whole number"),
        (LLAMA, {"model_type": "ernie4_5", "use_bias": True}, "use_bias", "false"),
        (QWEN_MOE, {"num_experts_per_tok": 129}, "num_experts_per_tok", "at most num_experts 128"),
        (QWEN_MOE, {"mlp_only_layers": [48]}, "mlp_only_layers", "layer indices from 0 to 47"),
        (QWEN_MOE, {"mlp_only_layers": [True]}, "mlp_only_layers", "layer indices"),
        (QWEN_MOE, {"decoder_sparse_step": 0}, "decoder_sparse_step", "from 1"),
        (DEEPSEEK, {"moe_layer_freq": 2}, "moe_layer_freq", "1: experts in every layer"),
        (DEEPSEEK, {"n_shared_experts": 10**6}, "n_shared_experts", "from 0 to 4882"),
        (WRAPPED, {"text_config": None}, "text_config", "an object"),
        (WRAPPED, {"text_config": {"model_type": "ministral3"}}, "text_config.model_type", "mistral"),
        (WRAPPED, {"text_config": {"sliding_window": None}}, "text_config.num_hidden_layers", "a whole"),
    ],
)
def test_a_bad_field_is_named(
    config: dict[str, Any], changed: dict[str, Any], field: str, allowed: str
) -> None:
    with pytest.raises(InputError, match=rf"^config\.json: .*{allowed}") as caught:
        read(config, **changed)
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["", "n" * 201])
def test_a_model_has_a_name(name: str) -> None:
    with pytest.raises(InputError, match="name"):
        read_config(LLAMA, name=name)


def test_a_file_and_its_folder_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    assert read_config(tmp_path, name="m") == read_config(str(path), name="m")
    assert read_config(path, name="m").source == str(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "JSON"),
        (b"{'a': 1}", "JSON"),
        (b"\xff\xfe{}", "JSON"),
        (b"[1]", "one JSON object"),
        (b'{"hidden_size": NaN}', "NaN is no JSON number"),
        (b'{"hidden_size": -Infinity}', "-Infinity is no JSON number"),
        (b'{"hidden_size": 1, "hidden_size": 2}', "'hidden_size' stands twice"),
        (b'{"hidden_size": ' + b"9" * 5000 + b"}", "JSON"),
        (b"[" * 200_000, "JSON"),
    ],
)
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        read_config(path, name="m")
    assert caught.value.where == str(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json", "nul\0byte", "n" * 5000):
        with pytest.raises(InputError, match=r"config\.json"):
            read_config(path, name="m")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from([10**30, -1, 0, 1, 2, 4, 64])
    | st.floats()
    | st.sampled_from(["fp8", "bfloat16", "mistral", "full_attention", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_fuzzed_config_gives_a_model_or_an_input_error(data: st.DataObject) -> None:
    config = dict(catalog_entries()[data.draw(st.sampled_from(model_names()))]["config"])
    stated = dict(config.get("text_config", {}))
    keys = [*config, *stated, "dtype", "layer_types", "num_local_experts", "attention_bias", "head_dim"]
    for key in data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=4)):
        (stated if key in stated else config)[key] = data.draw(anything)
    if stated and isinstance(config["text_config"], dict):
        config["text_config"] = stated
    for key in data.draw(st.lists(st.sampled_from(keys), max_size=2)):
        config.pop(key, None)
    try:
        spec = read_config(config, name="fuzzed")
    except InputError as error:
        assert error.field
    else:
        assert 0 < num_active_parameters(spec) <= num_parameters(spec)
        assert kv_bytes_per_token(spec) > 0


QUANTISATIONS: list[dict[str, Any]] = [
    {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"-:.*mlp": {}}, "lm_head": False},
    {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"},
    {"quant_method": "fp8", "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head", "gate"]},
    {"quant_algo": "NVFP4", "group_size": 16, "exclude_modules": ["*attn*"], "kv_cache_quant_algo": "FP8"},
    {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "ignore": ["re:.*attn.*", "lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32},
                "input_activations": None,
            }
        },
    },
]


@pytest.mark.parametrize("part", range(4))
def test_1600_mutated_configs_give_a_model_or_an_input_error(part: int, tmp_path: Path) -> None:
    """Through a file, as a user would; every family, every method of quantisation."""
    chance, refused, path = random.Random(part), 0, tmp_path / "config.json"
    for _ in range(400):
        config = catalog_entries()[chance.choice(model_names())]["config"]
        if chance.random() < 0.5:
            config = config | {"quantization_config": chance.choice(QUANTISATIONS)}
        for _ in range(chance.randrange(1, 4)):
            config = mutate(config, chance)
        path.write_text(json.dumps(config).replace("NaN", "1e999"))
        try:
            spec = read_config(tmp_path, name="mutated")
        except InputError as error:
            assert error.field and len(str(error)) < 2000 and "\n" not in str(error), config
            refused += 1
        else:
            assert all(row.num_bytes > 0 for row in weights(spec)), config
    assert 100 < refused < 380, refused


def test_groups_of_experts_are_read_where_a_config_states_them() -> None:
    assert read(DEEPSEEK).experts.groups == 8  # type: ignore[union-attr]
    alike = {key: value for key, value in DEEPSEEK.items() if key not in ("n_group", "topk_group")}
    for config in (alike, DEEPSEEK | {"topk_method": "greedy"}):
        experts = read(config).experts
        assert experts is not None and (experts.groups, experts.top_groups) == (1, 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_group": 7}, "n_group: 7 .*a divisor of the 256 experts"),
        ({"topk_group": 9}, "topk_group: 9 .*a whole number from 1 to 8"),
        ({"n_group": 64, "topk_group": 1}, "topk_group: 1 .*groups of 4 experts that hold 8 together"),
    ],
)
def test_groups_that_cannot_be_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(DEEPSEEK, **changed)
