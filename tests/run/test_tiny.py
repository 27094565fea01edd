"""The tiny checkpoints: what transformers loads, with nothing in them that would hide a fault."""

import json
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from shardwright.errors import InputError
from shardwright.model.hf import read_config
from shardwright.model.spec import GQA
from shardwright.model.weights import weights
from shardwright.plan.deployment import read_deployment
from shardwright.run.checkpoint import Checkpoint
from shardwright.run.tiny import FAMILIES, NUM_TOKENS, byte_tokenizer, main, make_tiny

EXAMPLE = Path(__file__).parents[2] / "examples" / "reference.yaml"


@pytest.mark.parametrize("family", FAMILIES)
def test_it_loads_into_its_class_with_nothing_missing_or_left_over(family: str, made: Path) -> None:
    model, found = AutoModelForCausalLM.from_pretrained(
        made / family, local_files_only=True, output_loading_info=True
    )
    assert model.config.model_type == family
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@pytest.mark.parametrize("family", FAMILIES)
def test_its_tensors_are_the_rows_of_the_model(family: str, made: Path) -> None:
    spec, checkpoint = read_config(made / family, name=family), Checkpoint(made / family)
    rows = {
        row.name.format(expert=expert): row.tensor_shape
        for row in weights(spec)
        for expert in range(max(1, row.num_experts))
    }
    assert {name: tuple(checkpoint.read(name).shape) for name in checkpoint.names} == rows


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_in_it_is_constant(family: str, made: Path) -> None:
    checkpoint = Checkpoint(made / family)
    tensors = {name: checkpoint.read(name) for name in checkpoint.names}
    assert any(tensor.ndim == 1 for tensor in tensors.values())
    for name, tensor in tensors.items():
        assert len(set(tensor.flatten().tolist())) > 0.9 * min(tensor.numel(), 10_000), name
        assert tensor.std() > 0.02, name
        middle = 1 if "norm" in name else 0
        assert abs(tensor.mean().item() - middle) < 0.4, name


@pytest.mark.parametrize(
    ("family", "trap"),
    [
        ("llama", "layers.3.mlp.down_proj.bias"),
        ("llama", "layers.3.self_attn.o_proj.bias"),
        ("qwen3_moe", "layers.0.mlp.down_proj.weight"),
        ("qwen3_moe", "layers.1.mlp.experts.7.down_proj.weight"),
        ("olmoe", "layers.3.self_attn.q_norm.weight"),
        ("deepseek_v2", "layers.3.self_attn.q_proj.weight"),
        ("deepseek_v3", "layers.3.self_attn.q_a_layernorm.weight"),
        ("deepseek_v3", "layers.3.mlp.gate.e_score_correction_bias"),
        ("gpt_oss", "layers.3.self_attn.sinks"),
        ("gpt_oss", "layers.3.mlp.experts.down_proj_bias"),
    ],
)
def test_it_holds_the_tensors_whose_sharding_is_easily_wrong(family: str, trap: str, made: Path) -> None:
    assert f"model.{trap}" in Checkpoint(made / family).names


def test_one_family_ties_its_head(made: Path) -> None:
    assert [family for family in FAMILIES if "lm_head.weight" not in Checkpoint(made / family).names] == [
        "qwen3"
    ]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_says_every_byte(family: str, made: Path, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    again, other = make_tiny(family, tmp_path / "again"), make_tiny(family, tmp_path / "other", seed=1)
    assert torch.equal(before, torch.get_rng_state())
    first = contents(made / family)
    assert set(first) >= {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert contents(again) == first
    assert {name for name, data in contents(other).items() if data != first[name]} == {"model.safetensors"}


def test_all_eight_take_less_than_three_seconds(tmp_path: Path) -> None:
    begin = time.process_time()
    for family in FAMILIES:
        make_tiny(family, tmp_path / family)
    assert time.process_time() - begin < 3


def test_the_reference_has_the_counts_of_the_example(tmp_path: Path) -> None:
    tiny = read_config(make_tiny("reference", tmp_path), name="tiny")
    full = read_deployment(EXAMPLE).model
    assert tiny.experts
    assert full.experts
    assert isinstance(tiny.attention, GQA)
    assert isinstance(full.attention, GQA)
    assert tiny.num_layers == full.num_layers == 16
    assert (tiny.experts.num_experts, tiny.experts.top_k) == (full.experts.num_experts, full.experts.top_k)
    assert tiny.attention.num_heads == full.attention.num_heads == 32
    assert tiny.attention.num_kv_heads == full.attention.num_kv_heads == 8
    assert [full.hidden, full.experts.width, full.attention.head_dim] == [
        64 * width for width in (tiny.hidden, tiny.experts.width, tiny.attention.head_dim)
    ]
    assert tiny.dense_layers == full.dense_layers == ()


@given(text=st.text())
def test_any_text_is_read_a_token_a_byte_and_written_back(text: str) -> None:
    tokenizer = byte_tokenizer()
    tokens = tokenizer.encode(text).ids
    assert len(tokens) == len(text.encode())
    assert all(8 <= token < NUM_TOKENS for token in tokens)
    assert tokenizer.decode(tokens) == text


def test_transformers_reads_the_tokenizer(made: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(made / "gpt_oss", local_files_only=True)
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    text = "Grüße, 分片 <eos>\n"
    tokens = tokenizer(text)["input_ids"]
    assert tokens[-2] == 2
    assert tokens == byte_tokenizer().encode(text).ids
    assert tokenizer.decode(tokens) == text
    assert tokenizer.decode(tokens, skip_special_tokens=True) == text.replace("<eos>", "")
    config = json.loads((made / "gpt_oss" / "config.json").read_text())
    assert len(tokenizer) == config["vocab_size"] == NUM_TOKENS == 264


def test_an_unknown_family_and_a_folder_that_is_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"family: 'mamba' is not allowed; expected one of llama, .*gpt_oss"):
        make_tiny("mamba", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"folder: '.*file' is not allowed; expected a folder that can be made"
    ):
        make_tiny("llama", tmp_path / "file")


def test_the_script_makes_one(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["llama", str(tmp_path / "llama")]) == 0
    assert contents(tmp_path / "llama") == contents(made / "llama")
    assert main(["reference", str(tmp_path / "reference"), "--seed", "3"]) == 0
    assert read_config(tmp_path / "reference", name="r").num_layers == 16
    assert capsys.readouterr() == ("", "")
    (tmp_path / "file").touch()
    assert main(["llama", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
