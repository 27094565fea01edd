"""Reading safetensors: exact slices, exact bytes, one message for whatever is wrong."""

import pickle
import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from shardwright.errors import InputError
from shardwright.run.checkpoint import INDEX, Checkpoint, Slices
from shardwright.run.tiny import FAMILIES
from tests.run.conftest import change


@st.composite
def cut(draw: st.DrawFn) -> tuple[tuple[int, ...], Slices]:
    """A shape, and slices within it, empty ones among them."""
    shape = tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=3)))
    ends = [sorted(draw(st.tuples(st.integers(0, size), st.integers(0, size)))) for size in shape]
    return shape, tuple(slice(*pair) for pair in ends)


@given(parts=st.lists(cut(), min_size=1, max_size=4), dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_a_slice_is_that_of_the_whole_and_costs_its_own_bytes(
    parts: list[tuple[tuple[int, ...], Slices]], dtype: torch.dtype, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("slices")
    whole = {
        f"t{number}": (torch.arange(prod(shape)).reshape(shape) + number).to(dtype)
        for number, (shape, _) in enumerate(parts)
    }
    save_file(whole, folder / "model.safetensors")
    checkpoint, expected_bytes = Checkpoint(folder), 0
    for (name, tensor), (shape, slices) in zip(whole.items(), parts, strict=True):
        part = checkpoint.read(name, slices, shape=shape)
        assert part.dtype == dtype
        assert torch.equal(part, tensor[slices])
        assert part.is_contiguous()
        assert part.untyped_storage().nbytes() == part.nbytes  # the file's mapping is not kept alive by it
        expected_bytes += tensor[slices].numel() * dtype.itemsize
        assert checkpoint.bytes_read == expected_bytes
        part.fill_(-1)
        assert torch.equal(checkpoint.read(name), tensor)
        expected_bytes += tensor.nbytes


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_is_read_as_it_is_stored(family: str, made: Path) -> None:
    stored, checkpoint = load_file(made / family / "model.safetensors"), Checkpoint(made / family)
    assert set(checkpoint.names) == set(stored)
    assert checkpoint.bytes_read == 0
    assert all(torch.equal(checkpoint.read(name), tensor) for name, tensor in stored.items())
    assert checkpoint.bytes_read == sum(tensor.nbytes for tensor in stored.values())


def test_shards_with_and_without_an_index_are_one_checkpoint(made: Path, sharded: Path) -> None:
    whole = load_file(made / "llama" / "model.safetensors")
    indexed = Checkpoint(sharded)
    (sharded / INDEX).unlink()
    for checkpoint in (indexed, Checkpoint(sharded)):
        assert set(checkpoint.names) == set(whole)
        assert all(torch.equal(checkpoint.read(name), tensor) for name, tensor in whole.items())


def test_a_scalar_has_no_slices(tmp_path: Path) -> None:
    save_file({"scale": torch.tensor(2.5)}, tmp_path / "model.safetensors")
    assert Checkpoint(tmp_path).read("scale", (), shape=()).item() == 2.5


def missing(folder: Path) -> None:
    shutil.rmtree(folder)


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def pickled(folder: Path, name: str = "pytorch_model.bin") -> None:
    (folder / "model.safetensors").rename(folder / name)


def cut_short(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-1])


def not_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"weights": [1.0]}) * 10)


def a_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            missing,
            r"checkpoint: '.*llama' is not allowed; expected a folder with config.json and safetensors",
        ),
        (a_file, r"checkpoint: '.*llama' is not allowed; expected a folder with config.json and safetensors"),
        (no_weights, r"checkpoint: '.*llama' is not allowed; expected a folder with a .safetensors file"),
        (pickled, r"pytorch_model.bin is pickled, and pickled weights can run code: convert to safetensors"),
        (lambda folder: pickled(folder, "weights.pt"), r"weights.pt is pickled"),
        (lambda folder: pickled(folder, "weights.pth"), r"weights.pth is pickled"),
        (cut_short, r"'.*model.safetensors' is not allowed; expected a whole safetensors file \(.*not fully"),
        (
            not_safetensors,
            r"'.*model.safetensors' is not allowed; expected a whole safetensors file \(.*header",
        ),
        (a_folder, r"'.*model.safetensors' is not allowed; expected a whole safetensors file"),
    ],
)
def test_a_folder_without_whole_safetensors_is_refused(
    spoil: Callable[[Path], None], message: str, llama: Path
) -> None:
    spoil(llama)
    with pytest.raises(InputError, match=message):
        Checkpoint(llama)


@given(data=st.data())
def test_a_file_cut_anywhere_is_refused_by_name(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("cut") / "model.safetensors"
    save_file({"a": torch.zeros(3, 5), "b": torch.ones(2)}, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        Checkpoint(file.parent)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weight_map": {"lm_head.weight": "../llama/model.safetensors"}}, "lies in the folder itself"),
        ({"weight_map": {"lm_head.weight": "/etc/passwd"}}, "lies in the folder itself"),
        ({"weight_map": {"lm_head.weight": "config.json"}}, "a .safetensors file"),
        ({"weight_map": {"lm_head.weight": "model-00009-of-00002.safetensors"}}, "lies in the folder itself"),
        ({"weight_map": {"lm_head.weight": 3}}, "weight_map.lm_head.weight: 3 is not allowed"),
        ({"weight_map": {"lm_head.weight": ["a"]}}, r"weight_map.lm_head.weight: \['a'\] is not allowed"),
        ({"weight_map": ["model.safetensors"]}, "weight_map: .* expected an object"),
        ({"weight_map": None}, "weight_map: None is not allowed; expected an object"),
    ],
)
def test_a_wrong_index_is_refused(changed: dict[str, Any], message: str, sharded: Path) -> None:
    change(sharded, INDEX, **changed)
    with pytest.raises(InputError, match=rf"{INDEX}: .*{message}"):
        Checkpoint(sharded)


def test_an_index_that_is_no_json_is_refused(sharded: Path) -> None:
    (sharded / INDEX).write_text('{"weight_map": ')
    with pytest.raises(InputError, match=rf"{INDEX}: .* expected JSON"):
        Checkpoint(sharded)


def test_files_outside_the_index_are_not_read(sharded: Path) -> None:
    (sharded / "other.safetensors").write_bytes(b"no safetensors")
    assert "lm_head.weight" in Checkpoint(sharded).names


QUERY = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("model.layers.4.self_attn.q_proj.weight", r"model\.layers\.\d\.self_attn\.q_proj\.weight"),
        ("model.layer.2.input_layernorm.weight", r"model\.layers\.2\.input_layernorm\.weight"),
        ("transformer.lm_head.weight", r"lm_head\.weight"),
    ],
)
def test_a_missing_tensor_is_named_with_its_nearest(name: str, nearest: str, made: Path) -> None:
    with pytest.raises(InputError, match=rf"llama: tensor: '{name}' .* whose nearest is {nearest}$"):
        Checkpoint(made / "llama").read(name)


def test_a_checkpoint_without_tensors_has_no_nearest(tmp_path: Path) -> None:
    save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="none: it is empty"):
        Checkpoint(tmp_path).read("lm_head.weight")


@pytest.mark.parametrize(
    ("slices", "shape", "message"),
    [
        (None, (64, 32), r"\(64, 64\) is not allowed; expected the shape \(64, 32\)"),
        ((slice(0, 8), slice(0, 64)), (64,), r"\(64, 64\) is not allowed; expected the shape \(64,\)"),
        ((slice(0, 65), slice(0, 64)), None, r"expected a shape of at least \(65, 64\)"),
        ((slice(0, 64),), None, r"expected a shape of at least \(64,\)"),
        ((slice(0, 64),) * 3, None, r"expected a shape of at least \(64, 64, 64\)"),
    ],
)
def test_another_shape_is_refused_with_both(
    slices: Slices | None, shape: tuple[int, ...] | None, message: str, made: Path
) -> None:
    checkpoint = Checkpoint(made / "llama")
    with pytest.raises(InputError, match=rf"model\.safetensors: {QUERY}: .*{message}"):
        checkpoint.read(QUERY, slices, shape=shape)
    assert checkpoint.bytes_read == 0


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn])
def test_what_is_no_weight_by_itself_is_refused(dtype: torch.dtype, tmp_path: Path) -> None:
    save_file({"packed": torch.zeros(4, 4).to(dtype)}, tmp_path / "model.safetensors")
    with pytest.raises(
        InputError, match=r"packed: '\w+' is not allowed; expected one of F64, F32, F16, BF16"
    ):
        Checkpoint(tmp_path).read("packed")
