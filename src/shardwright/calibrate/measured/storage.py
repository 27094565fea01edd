"""The model of a row as it was stored: which layers in which format, and the KV cache."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import Field

from shardwright.calibrate.measured.refusal import RefusedError
from shardwright.calibrate.measured.row import Row
from shardwright.model.catalog import catalog_entries, find_model
from shardwright.model.dtype import BITS, Dtype
from shardwright.model.fields import Fields
from shardwright.model.hf import read_config
from shardwright.model.quantisation import quantise
from shardwright.model.spec import ModelSpec
from shardwright.record import Record

SAME: dict[str, tuple[str, ...]] = {
    "fp4": ("fp4", "mxfp4"),
    "nvfp4": ("fp4",),
    "fp8_block": ("fp8",),
    "gptq": ("int4",),
    "awq": ("int4",),
    "w8a8": ("int8",),
}
"""What sources call a precision -> the dtypes that a checkpoint in it has; else the dtype of that name."""


class Checkpoint(Record):
    """A model of the catalog in another precision, under a name of its own."""

    model: str
    precision: str


class Format(Record):
    """How a stated precision is stored, for the models and the vendors of GPUs that it names; () is all."""

    precisions: tuple[str, ...]
    vendors: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    like: str | None = Field(default=None, alias="as")
    section: dict[str, Any] | None = None
    why: str


class KvRule(Record):
    """The KV dtype that these engines give to weights of these dtypes."""

    software: tuple[str, ...]
    weights: tuple[Dtype, ...]
    dtype: Dtype
    why: str


class _Tables(Record):
    checkpoints: dict[str, Checkpoint]
    unmodelled: dict[str, str]
    only_as_published: tuple[str, ...]
    formats: tuple[Format, ...]
    kv: tuple[KvRule, ...]


def published_model(row: Row) -> ModelSpec:
    """The row's model as its publisher stores it.

    Raises RefusedError for layers that are not modelled, InputError for a model that is not in the catalog.
    """
    tables = _tables()
    if reason := tables.unmodelled.get(row.model):
        raise RefusedError("layers", f"{row.model} has layers that are not modelled: {reason}.")
    known = tables.checkpoints.get(row.model)
    return _found(known.model if known else row.model)


def stored_model(row: Row, *, software: str, vendor: str, kv_dtype: Dtype | None) -> ModelSpec:
    """The row's model, under the row's name, as it stood on GPUs of `vendor`.

    kv_dtype: what the harness set. The notes' 'gemm=fp8_block' is more exact than the column's fp8.
    """
    known = _tables().checkpoints.get(row.model)
    precision = row.precision_weights or (known.precision if known else "")
    if row.noted("gemm") == "fp8_block":
        precision = "fp8_block"
    name, kv = published_model(row).name, row.precision_kv.lower()
    return _stored(name, row.model, precision.lower(), kv, software, vendor, kv_dtype)


@cache
def _stored(
    catalog: str, name: str, precision: str, kv: str, software: str, vendor: str, harness_kv: Dtype | None
) -> ModelSpec:
    published = _found(catalog)
    spec = published if _as_published(published, precision) else _converted(published, precision, vendor)
    stated = _dtype(kv) if kv else harness_kv
    return spec.model_copy(update={"name": name, "kv_dtype": stated or _kv_dtype(spec, software)})


@cache
def _found(name: str) -> ModelSpec:
    """Of the catalog; or, as rows of one's own name it, in a folder."""
    config = Path(name) / "config.json"
    if "\0" not in name and config.is_file():
        return read_config(config, name=name, where=str(config))
    return find_model(name)


def _as_published(spec: ModelSpec, precision: str) -> bool:
    """Whether the publisher's own checkpoint is in that precision, or in whichever there is."""
    if not precision or spec.family in _tables().only_as_published:
        return True
    if not spec.quantised and precision == spec.weight_dtype:
        return True
    own = {spec.weight_dtype, spec.expert_dtype}
    return bool(spec.quantised) and not own.isdisjoint(SAME.get(precision, (precision,)))


def _converted(spec: ModelSpec, precision: str, vendor: str) -> ModelSpec:
    experts = spec.experts and spec.experts.model_copy(update={"weight_dtype": None})
    plain = {"quantised": (), "weight_dtype": "bf16", "kv_dtype": "bf16", "experts": experts}
    spec = spec.model_copy(update=plain) if spec.quantised else spec
    fits = (
        row
        for row in _tables().formats
        if precision in row.precisions
        and (not row.vendors or vendor in row.vendors)
        and (not row.families or spec.family in row.families)
    )
    row = next(fits, None)
    if row is None:
        known = dict.fromkeys(name for each in _tables().formats for name in each.precisions)
        raise RefusedError("precision", f"Weights in {precision!r}: known are {', '.join(known)}.")
    section = catalog_entries()[row.like]["config"]["quantization_config"] if row.like else row.section
    return quantise(spec, Fields(section)) if section else spec


def _kv_dtype(spec: ModelSpec, software: str) -> Dtype:
    for rule in _tables().kv:
        if software in rule.software and spec.weight_dtype in rule.weights:
            return rule.dtype
    return "fp16" if spec.weight_dtype == "fp16" else "bf16"


def _dtype(kv: str) -> Dtype:
    plain = {"fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "bfloat16": "bf16", "float16": "fp16"}.get(kv, kv)
    if plain not in BITS:
        raise RefusedError("precision", f"A KV cache in {kv!r}: known are {', '.join(BITS)}.")
    return cast(Dtype, plain)


@cache
def _tables() -> _Tables:
    text = files("shardwright.calibrate.measured").joinpath("storage.yaml").read_text(encoding="utf-8")
    return _Tables.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
