"""A ModelSpec gives the configuration that it was read from, and weights of its shapes."""

import pytest
import torch
from transformers import CONFIG_MAPPING, PreTrainedConfig

from shardwright.errors import InputError
from shardwright.model.catalog import find_model, model_names
from shardwright.model.hf import read_config
from shardwright.model.spec import ModelSpec
from shardwright.run.alone.hollow import HollowCheckpoint, executed_dtype, executed_model, hollow_config
from shardwright.run.checkpoint import model_class
from shardwright.run.tiny import COMMON, FAMILIES
from tests.samples import DENSE, REFERENCE

CPU = torch.device("cpu")


def tiny_spec(family: str) -> ModelSpec:
    return read_config({**COMMON, **FAMILIES[family], "model_type": family}, name=family)


def shapes(config: PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model that transformers makes of a configuration."""
    with torch.device("meta"):
        model = model_class(config)(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_config_gives_the_spec_and_the_tensors_back(family: str) -> None:
    spec = tiny_spec(family)
    config = hollow_config(spec)
    # Its class says that a layer for multi-token prediction stands beside, which is not executed.
    assert read_config(config.to_dict(), name=family).model_copy(update={"left_out": ()}) == spec
    written = CONFIG_MAPPING[family](**{**COMMON, **FAMILIES[family]})
    assert shapes(config) == shapes(written)


@pytest.mark.parametrize("name", [n for n in model_names() if find_model(n).family in FAMILIES])
def test_catalog_models_are_executed_as_their_family(name: str) -> None:
    spec = find_model(name)
    config = hollow_config(spec)
    assert config.model_type == spec.family
    assert config.dtype == executed_dtype(spec)


@pytest.mark.parametrize(
    ("spec", "family"),
    [
        (REFERENCE, "mixtral"),
        (DENSE.model_copy(update={"family": "generic"}), "llama"),
        (find_model("Mistral-Small-3.1-24B-Instruct-2503"), "llama"),
    ],
)
def test_family_that_is_not_ours_has_a_stand_in_of_its_shapes(spec: ModelSpec, family: str) -> None:
    config = hollow_config(spec)
    assert config.model_type == family
    assert (config.hidden_size, config.num_hidden_layers) == (spec.hidden, spec.num_layers)


def test_shape_without_a_family_is_refused_by_its_field() -> None:
    with pytest.raises(InputError, match=r"model\.attention\.qkv_bias: True is not allowed; .*llama"):
        hollow_config(find_model("Qwen2.5-7B-Instruct"))
    gated = REFERENCE.experts.model_copy(update={"shared_width": 8, "shared_gate": True})
    with pytest.raises(InputError, match=r"model\.experts\.shared_"):
        hollow_config(REFERENCE.model_copy(update={"experts": gated}))


def test_quantised_models_are_executed_in_bf16() -> None:
    for name in ("deepseek-ai/DeepSeek-V3", "openai/gpt-oss-20b"):
        executed = executed_model(find_model(name))
        assert executed.stored_in == "bf16" and executed.kv_dtype == "bf16"
    assert executed_model(tiny_spec("llama")).weight_dtype == "fp32"


def test_weights_are_slices_drawn_with_a_seed() -> None:
    part = (slice(64, 192), slice(0, 400))

    def read(seed: int) -> torch.Tensor:
        weights = HollowCheckpoint(torch.bfloat16, CPU, seed=seed)
        drawn = weights.read("model.layers.0.self_attn.q_proj.weight", part, shape=(256, 400))
        assert weights.bytes_read == 128 * 400 * 2
        return drawn

    drawn = read(1)
    assert drawn.dtype == torch.bfloat16 and drawn.shape == (128, 400)
    assert torch.equal(drawn, read(1)) and not torch.equal(drawn, read(2))
    assert drawn.float().std() == pytest.approx(1 / 20, rel=0.02)


def test_norms_are_one_and_correction_biases_stay_fp32() -> None:
    weights = HollowCheckpoint(torch.bfloat16, CPU)
    whole = (slice(0, 8),)
    assert weights.read("model.norm.weight", whole, shape=(8,)).tolist() == [1.0] * 8
    bias = weights.read("model.layers.1.mlp.gate.e_score_correction_bias", whole, shape=(8,))
    assert bias.dtype == torch.float32
    assert weights.bytes_read == 8 * 2 + 8 * 4
