"""config.json, as the Hugging Face hub holds it -> ModelSpec.

What one family reads in its own way stands in family.py, what a config.json may leave unsaid in
families.yaml.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from shardwright.errors import InputError
from shardwright.model.family import FAMILIES, Family
from shardwright.model.fields import Fields, read_json
from shardwright.model.spec import Dtype, ModelSpec

DTYPES: dict[str, Dtype] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}

QUANTISED: dict[str, dict[str, Dtype]] = {"linear": {"fp8": "fp8"}, "experts": {"mxfp4": "mxfp4"}}
"""What is quantised -> quantization_config.quant_method -> how it is stored: the linear layers in
DeepSeek-V3's block fp8, the experts' matrices alone in gpt-oss's mxfp4."""

WRAPPERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mistral3": ("mistral", ("vision tower", "multimodal projector")),
}
"""Models that hold a decoder's fields in text_config: the decoder's family, and what stands beside it."""


def read_config(config: str | Path | Mapping[str, Any], *, name: str, where: str = "") -> ModelSpec:
    """The model that a config.json describes: a file, the folder that holds it, or its content.

    name: what the model is called from here on; where: the file that a given content came from.
    Weights without a stated dtype are taken as bf16; the KV cache has the dtype of the activations.
    Raises InputError for what cannot be read, is out of range, or is not modelled.
    """
    if not 1 <= len(name) <= 200:
        raise InputError("name", name, "1 to 200 characters", where=where)
    if isinstance(config, Mapping):
        top = Fields(config, where)
    else:
        top = read_json(Path(config), in_folder="config.json")
    model_type = _model_type(top)
    decoder_type, beside = WRAPPERS.get(model_type, (model_type, ()))
    fields = _decoder(top, decoder_type) if model_type in WRAPPERS else top
    fields = fields.over(_known()["defaults"][decoder_type])
    family = FAMILIES[decoder_type]

    num_layers = fields.count("num_hidden_layers", most=2000)
    if family.windowed_layers:
        windowed_layers = family.windowed_layers(fields, num_layers)
    else:
        windowed_layers = ()
        _refuse_windows(fields, family, decoder_type)
    experts = family.experts(fields) if family.experts else None
    dense_layers = family.dense_layers(fields, num_layers) if experts else ()
    if len(dense_layers) == num_layers:
        experts, dense_layers = None, ()
    dtype = _dtype(fields)
    quantised = _quantised(fields, family)
    if experts and family.quantised == "experts":
        experts = experts.model_copy(update={"weight_dtype": quantised})
    return ModelSpec(
        name=name,
        family=model_type,
        num_layers=num_layers,
        hidden=fields.count("hidden_size"),
        vocab=fields.count("vocab_size"),
        attention=family.attention(fields),
        dense_width=fields.count("intermediate_size") if dense_layers or not experts else 0,
        experts=experts,
        dense_layers=dense_layers,
        window=fields.count("sliding_window") if windowed_layers else None,
        windowed_layers=windowed_layers,
        tied_embeddings=fields.flag("tie_word_embeddings"),
        mlp_bias=family.mlp_bias and fields.flag("mlp_bias"),
        weight_dtype=(quantised if family.quantised == "linear" else None) or dtype,
        kv_dtype=dtype,
        max_positions=fields.count("max_position_embeddings"),
        left_out=beside + _prediction_layers(fields),
        source=top.where,
    )


def _model_type(top: Fields) -> str:
    """The stated model_type, when it is one that can be read; refused by name else."""
    known, stated = (*FAMILIES, *WRAPPERS), top.values.get("model_type")
    if not isinstance(stated, str) or stated not in known:
        lacks = _known()["unmodelled"].get(stated) if isinstance(stated, str) else None
        because = f"; {stated} has {lacks}, which is not modelled" if lacks else ""
        top.refuse("model_type", f"one of {', '.join(known)}{because}")
    return stated


def _decoder(top: Fields, decoder_type: str) -> Fields:
    """The fields in text_config; the dtype, quantisation and tie of the whole hold where it is silent."""
    inner = top.section("text_config")
    if inner.values.get("model_type", decoder_type) != decoder_type:
        inner.refuse("model_type", decoder_type)
    of_the_whole = ("dtype", "torch_dtype", "quantization_config", "tie_word_embeddings")
    return inner.over({key: top.values[key] for key in of_the_whole if key in top.values})


def _refuse_windows(fields: Fields, family: Family, decoder_type: str) -> None:
    """Refuse layers whose attention does not see the whole context, in a family where all must."""
    window = fields.values.get(family.window_switch)
    if window is not None and window is not False:
        allowed = f"null or false: sliding-window attention is not modelled for {decoder_type}"
        fields.refuse(family.window_switch, allowed)
    layer_types = fields.values.get("layer_types")
    if layer_types is not None and (
        not isinstance(layer_types, list) or any(kind != "full_attention" for kind in layer_types)
    ):
        fields.refuse("layer_types", f"full_attention in every layer of {decoder_type}")


def _prediction_layers(fields: Fields) -> tuple[str, ...]:
    """Layers that predict further tokens (DeepSeek-V3, arXiv 2412.19437, section 2.2)."""
    key = "num_nextn_predict_layers"
    number = fields.count(key, least=0, most=2000) if key in fields.values else 0
    return (f"{number} multi-token-prediction layer{'s' if number > 1 else ''}",) if number else ()


def _dtype(fields: Fields) -> Dtype:
    """`dtype`, as transformers 5 writes it, or `torch_dtype`; bf16 when neither is stated."""
    stated = next((key for key in ("dtype", "torch_dtype") if fields.values.get(key) is not None), None)
    return fields.one_of(stated, DTYPES) if stated else "bf16"


def _quantised(fields: Fields, family: Family) -> Dtype | None:
    """How what is quantised is stored; None when nothing is."""
    if fields.values.get("quantization_config") is None:
        return None
    return fields.section("quantization_config").one_of("quant_method", QUANTISED[family.quantised])


@cache
def _known() -> dict[str, dict[str, Any]]:
    """families.yaml: `defaults` by family, and `unmodelled`, the model types refused by name."""
    text = files("shardwright.model").joinpath("families.yaml").read_text(encoding="utf-8")
    known: dict[str, dict[str, Any]] = yaml.load(text, Loader=yaml.CSafeLoader)
    return known
