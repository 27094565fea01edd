"""config.json and the unsharded model: as anyone loads them, without any code or pickle of the folder."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from shardwright.errors import InputError
from shardwright.run.checkpoint import INDEX, load_config, reference_model
from shardwright.run.tiny import FAMILIES
from tests.run.conftest import change

PROMPT = torch.tensor([[11, 200, 37, 8, 90, 263, 45, 17]])
QUERY = "model.layers.0.self_attn.q_proj.weight"
ODD: tuple[Any, ...] = (None, -1, 0, 1.5, 10**9, "odd", [], ["odd"], {}, {"rope_type": "odd"}, True, False)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(PROMPT).logits
    return result


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_is_the_model_as_anyone_loads_it(
    family: str, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = reference_model(made / family)
    assert capsys.readouterr() == ("", "")
    theirs = AutoModelForCausalLM.from_pretrained(
        made / family,
        local_files_only=True,
        attn_implementation="eager",
        experts_implementation="eager",
    )
    assert type(reference) is type(theirs)
    assert not reference.training
    state = theirs.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in reference.state_dict().items())
    assert torch.equal(logits(reference), logits(theirs))
    assert logits(reference).std() > 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_attention_and_experts_are_eager_and_the_dtype_is_ours(family: str, made: Path) -> None:
    config = load_config(made / family, torch.bfloat16)
    assert (config.model_type, config.dtype) == (family, torch.bfloat16)
    assert (config._attn_implementation, config._experts_implementation) == ("eager", "eager")
    reference = reference_model(made / family, torch.bfloat16)
    assert reference.get_parameter("model.layers.1.self_attn.o_proj.weight").dtype == torch.bfloat16
    assert (reference.config._attn_implementation, reference.config._experts_implementation) == (  # type: ignore[union-attr]
        "eager",
        "eager",
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "mamba2"}, "model_type: 'mamba2' is not allowed"),
        ({"model_type": None}, "model_type: None is not allowed"),
        ({"hidden_size": 0}, "hidden_size: 0 is not allowed"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantised weights are not executed"),
        ({"quantization_config": {"quant_method": "aqlm"}}, "quantization_config.quant_method: 'aqlm'"),
        ({"hidden_act": 7}, "a configuration that transformers can build"),
        ({"rope_parameters": "yarn"}, "a configuration that transformers can build"),
    ],
)
def test_a_wrong_config_is_refused(changed: dict[str, Any], message: str, llama: Path) -> None:
    change(llama, "config.json", **changed)
    with pytest.raises(InputError, match=rf"config\.json: .*{message}"):
        load_config(llama)


def test_a_decoder_within_another_model_is_refused(llama: Path) -> None:
    text = json.loads((llama / "config.json").read_text()) | {"model_type": "mistral", "sliding_window": None}
    (llama / "config.json").write_text(json.dumps({"model_type": "mistral3", "text_config": text}))
    with pytest.raises(InputError, match=r"model_type: 'mistral3' .* a family that our runtime executes"):
        load_config(llama)


def test_a_missing_config_is_refused(llama: Path) -> None:
    (llama / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: .* a file that can be read"):
        reference_model(llama)


@pytest.mark.parametrize("family", FAMILIES)
def test_any_field_may_be_odd(family: str, made: Path, tmp_path: Path) -> None:
    """Each field of each config takes each odd value: a configuration comes of it, or an InputError."""
    stated = json.loads((made / family / "config.json").read_text())
    refused = 0
    for field in stated:
        for value in ODD:
            (tmp_path / "config.json").write_text(json.dumps(stated | {field: value}))
            try:
                assert load_config(tmp_path)._attn_implementation == "eager"
            except InputError:
                refused += 1
    assert refused > 3 * len(ODD)


def test_the_reference_wants_every_weight(llama: Path) -> None:
    tensors = load_file(llama / "model.safetensors")
    without = {name: tensor for name, tensor in tensors.items() if name != QUERY}
    save_file(without, llama / "model.safetensors")
    with pytest.raises(InputError, match=rf"llama: tensor: .*{QUERY}: the model has it, the checkpoint not"):
        reference_model(llama)
    save_file(tensors | {QUERY: torch.zeros(32, 64)}, llama / "model.safetensors")
    with pytest.raises(
        InputError, match=rf"{QUERY}: \(32, 64\) is not allowed; expected the shape \(64, 64\)"
    ):
        reference_model(llama)
    save_file(tensors | {QUERY: torch.zeros(64, 64, dtype=torch.int32)}, llama / "model.safetensors")
    with pytest.raises(InputError, match=rf"{QUERY}: 'I32' is not allowed"):
        reference_model(llama)


def test_a_config_that_transformers_cannot_build_is_refused(llama: Path) -> None:
    change(llama, "config.json", hidden_act="odd")
    with pytest.raises(InputError, match=r"config\.json: model_type: .* transformers can build"):
        reference_model(llama)


class Payload:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_no_code_of_the_folder_is_run(llama: Path, tmp_path: Path) -> None:
    expected, mark = logits(reference_model(llama)), tmp_path / "ran"
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n"
    for file in ("modeling_own.py", "configuration_own.py", "custom_generate/generate.py"):
        (llama / file).parent.mkdir(exist_ok=True)
        (llama / file).write_text(code)
    for file in (".metadata", "pytorch_model.bin", "training_args.bin"):
        (llama / file).write_bytes(pickle.dumps(Payload(mark)))
    own = {"AutoConfig": "configuration_own.Own", "AutoModelForCausalLM": "modeling_own.Own"}
    change(
        llama,
        "config.json",
        auto_map=own,
        transformers_weights="pytorch_model.bin",
        attn_implementation="someone/kernel",
        _attn_implementation="someone/kernel",
        experts_implementation="someone/kernel",
        fusion_config={"patch_embeddings": True},
        dtype="float16",
    )
    assert torch.equal(logits(reference_model(llama)), expected)
    (llama / "model.safetensors").unlink()
    with pytest.raises(InputError, match="pickled weights can run code"):
        reference_model(llama)
    assert not mark.exists()


def test_shards_with_and_without_an_index_are_the_same_model(made: Path, sharded: Path) -> None:
    expected = logits(reference_model(made / "llama"))
    assert torch.equal(logits(reference_model(sharded)), expected)
    (sharded / INDEX).unlink()
    assert torch.equal(logits(reference_model(sharded)), expected)
