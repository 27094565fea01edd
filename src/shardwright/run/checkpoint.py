"""A checkpoint folder, as the Hugging Face hub holds one: config.json and safetensors.

Nothing that stands in the folder is ever run: weights are read as safetensors alone, classes come from
transformers by the stated model_type. Memory-mapped, so that a slice costs its own bytes and no others.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig
from transformers.utils import logging as transformers_logging

from shardwright.errors import InputError
from shardwright.model.fields import Fields, read_json
from shardwright.model.hf import read_config

ALONE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""The one file of a small checkpoint; the list of a larger one's. The first goes before the second."""

PICKLED = (".bin", ".pt", ".pth")

READ_DTYPES = ("F64", "F32", "F16", "BF16")
"""Stored dtypes that hold a weight as it is: integers and fp8 stand for a value only with their scales."""

OURS = ("auto_map", "dtype", "torch_dtype", "transformers_weights", "fusion_config", "distributed_config")
"""Fields of config.json that choose code, files or number formats, which the runtime chooses."""

EXECUTED = (
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
"""Families whose layers are what the rank program computes: two norms, separate projections, no factors."""

Slices = tuple[slice, ...]


class Checkpoint:
    """The safetensors of a folder: one file, the shards of its index, or all that lie there.

    bytes_read: bytes of all slices read so far. told: called before each is read. Raises InputError when
    the folder or its index is missing or wrong, when weights are pickled, and when a file is corrupt or
    cut short.
    """

    def __init__(self, folder: Path, told: Callable[[], None] = lambda: None) -> None:
        self.folder, self._told = folder, told
        self.bytes_read = 0
        self._files = {
            name: (path, file)
            for path in _safetensors(folder)
            for file in [_opened(path)]
            for name in file.keys()  # noqa: SIM118
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Every tensor's name, in the order of the files."""
        return tuple(self._files)

    def read(
        self, name: str, slices: Slices | None = None, *, shape: tuple[int, ...] | None = None
    ) -> torch.Tensor:
        """A part of tensor `name`, in its stored dtype, contiguous and in memory of its own.

        slices: one a dim, with start and stop; None is the whole. shape: of the whole tensor, as the
        model has it; then the slices lie within it. Raises InputError when the tensor is missing, of
        another shape, too small for the slices, or of a dtype that is no weight by itself.
        """
        if name not in self._files:
            allowed = f"a tensor of the checkpoint, whose nearest is {_nearest(name, self.names)}"
            raise InputError("tensor", name, allowed, where=str(self.folder))
        self._told()
        path, file = self._files[name]
        stored = file.get_slice(name)
        _check(name, stored, slices, shape, where=str(path))
        # The mapping hands out views of the file: a copy touches, and keeps, the bytes of the slice alone.
        view: torch.Tensor = stored[... if slices is None else slices]
        part = view.clone(memory_format=torch.contiguous_format)
        self.bytes_read += part.nbytes
        return part


def load_config(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedConfig:
    """The configuration that transformers makes of config.json: eager attention and experts, of `dtype`.

    Raises InputError for all that read_config refuses, for families that are not EXECUTED, and for
    quantised weights.
    """
    fields = read_json(folder, in_folder="config.json")
    stated = read_config(fields.values, name="checkpoint", where=fields.where).family
    if stated not in EXECUTED:
        fields.refuse("model_type", f"a family that our runtime executes, one of {', '.join(EXECUTED)}")
    if fields.values.get("quantization_config") is not None:
        fields.refuse("quantization_config", "null or absent: quantised weights are not executed")
    known = {key: value for key, value in fields.values.items() if key not in OURS and key[:1] != "_"}
    pinned = {"dtype": dtype, "attn_implementation": "eager", "experts_implementation": "eager"}
    with _named(fields):
        config: PreTrainedConfig = CONFIG_MAPPING[stated](**cast(Any, known | pinned))
    return config


def reference_model(folder: Path, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    """The unsharded model of transformers, in eval mode, with the weights of the folder cast to `dtype`.

    The weights are handed over rather than their folder, where from_pretrained has preferences of its own:
    what is proved and what it is compared with are the same files, and no other file is opened.
    Raises InputError as Checkpoint and load_config do, and for weights that are missing or of another shape.
    """
    config, checkpoint = load_config(folder, dtype), Checkpoint(folder)
    weights = {name: checkpoint.read(name) for name in checkpoint.names}
    with _named(read_json(folder, in_folder="config.json")), quiet():
        model, found = model_class(config).from_pretrained(
            None,
            config=config,
            state_dict=weights,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    for name, stored, expected in sorted(found["mismatched_keys"]):
        raise InputError(name, tuple(stored), f"the shape {tuple(expected)}", where=str(folder))
    for name in sorted(found["missing_keys"]):
        raise InputError("tensor", None, f"{name}: the model has it, the checkpoint not", where=str(folder))
    reference: torch.nn.Module = model
    return reference


def model_class(config: PreTrainedConfig) -> Any:
    """The class of transformers that computes a configuration's model, head included."""
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and warnings of transformers: what is wrong becomes an InputError."""
    log: Any = transformers_logging
    bars, verbosity = log.is_progress_bar_enabled(), log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity(log.CRITICAL)
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


@contextmanager
def _named(fields: Fields) -> Iterator[None]:
    """Whatever transformers raises over a configuration, as InputError: its checks have no common error."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())
        allowed = f"a configuration that transformers can build ({reason or type(error).__name__})"
        raise InputError("model_type", fields.values["model_type"], allowed, where=fields.where) from error


def _safetensors(folder: Path) -> list[Path]:
    """The files that hold the weights."""
    if not folder.is_dir():
        raise InputError("checkpoint", str(folder), "a folder with config.json and safetensors")
    there = {path.name: path for path in sorted(folder.iterdir())}
    if ALONE in there:
        return [there[ALONE]]
    if INDEX in there:
        return _indexed(there)
    files = [path for path in there.values() if path.suffix == ".safetensors"]
    if not files:
        allowed = "a folder with a .safetensors file"
        pickled = next((name for name in there if name.endswith(PICKLED)), None)
        if pickled:
            allowed += f"; {pickled} is pickled, and pickled weights can run code: convert to safetensors"
        raise InputError("checkpoint", str(folder), allowed)
    return files


def _indexed(there: Mapping[str, Path]) -> list[Path]:
    """The files that the index names. They lie in the folder itself: a path that leads out names none."""
    index = read_json(there[INDEX], in_folder=INDEX).section("weight_map")
    for name, file in index.values.items():
        if not isinstance(file, str) or file not in there or not file.endswith(".safetensors"):
            index.refuse(name, "a .safetensors file that lies in the folder itself")
    return [there[file] for file in sorted({str(file) for file in index.values.values()})]


def _opened(path: Path) -> Any:
    """The file, its header read; no tensor is."""
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise InputError("checkpoint", str(path), f"a whole safetensors file ({error})") from error


def _check(
    name: str, stored: Any, slices: Slices | None, shape: tuple[int, ...] | None, *, where: str
) -> None:
    """Raise InputError unless the tensor has this shape, room for these slices, and a weight's dtype."""
    found, dtype = tuple(stored.get_shape()), stored.get_dtype()
    if shape is not None and found != shape:
        raise InputError(name, found, f"the shape {shape}", where=where)
    if slices is not None:
        needed = tuple(part.stop for part in slices)
        if len(needed) != len(found) or any(stop > size for stop, size in zip(needed, found, strict=True)):
            raise InputError(name, found, f"a shape of at least {needed}", where=where)
    if dtype not in READ_DTYPES:
        raise InputError(name, dtype, f"one of {', '.join(READ_DTYPES)}", where=where)


def _nearest(name: str, names: Sequence[str]) -> str:
    """The name that shares most with `name` at its two ends: whatever it is, if one part is mistaken."""

    def shared(other: str) -> int:
        return _num_alike(name, other) + _num_alike(name[::-1], other[::-1])

    return max(names, key=shared, default="none: it is empty")


def _num_alike(one: str, other: str) -> int:
    """Characters that two texts have in common before the first that differs."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (here, there) in pairs if here != there), min(len(one), len(other)))
