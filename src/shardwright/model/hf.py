"""config.json, as the Hugging Face hub holds it -> ModelSpec.

What one family reads in its own way stands in family.py, what a config.json may leave unsaid in
families.yaml, how its weights are quantised in quantisation.py.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shardwright.errors import InputError
from shardwright.model.dtype import Dtype
from shardwright.model.experts import read_experts
from shardwright.model.family import FAMILIES, Family
from shardwright.model.fields import Fields, read_json
from shardwright.model.quantisation import quantise
from shardwright.model.spec import LARGEST_POSITIONS, ModelSpec

DTYPES: dict[str, Dtype] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}

QUANTISATION_FILE = "hf_quant_config.json"
"""Where ModelOpt's older checkpoints state their quantisation, beside config.json."""

VISION = ("vision tower", "multimodal projector")

WRAPPERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "mistral3": ("mistral", VISION),
    "gemma3": ("gemma3_text", VISION),
    "llama4": ("llama4_text", VISION),
}
"""Models that hold a decoder's fields in text_config: the decoder's family, and what stands beside it."""


def read_config(config: str | Path | Mapping[str, Any], *, name: str, where: str = "") -> ModelSpec:
    """The model that a config.json describes: a file, the folder that holds it, or its content.

    name: what the model is called from here on; where: the file that a given content came from.
    Weights without a stated dtype are taken as bf16; the KV cache has the dtype of the activations, or the
    one that a quantised checkpoint brings scales for.
    Raises InputError for what cannot be read, is out of range, or is not modelled.
    """
    if not 1 <= len(name) <= 200:
        raise InputError("name", name, "1 to 200 characters", where=where)
    if isinstance(config, Mapping):
        top = Fields(config, where)
    else:
        top = _with_quantisation(Path(config), read_json(Path(config), in_folder="config.json"))
    model_type = _model_type(top)
    decoder_type, beside = WRAPPERS.get(model_type, (model_type, ()))
    fields = _decoder(top, decoder_type) if model_type in WRAPPERS else top
    fields = fields.over(_known()["defaults"][decoder_type])
    family = FAMILIES[decoder_type]

    _refuse_unmodelled(fields, family)
    num_layers = fields.count("num_hidden_layers", most=2000)
    window, windowed_layers = family.windows(fields, num_layers)
    experts = read_experts(fields, family.experts) if family.experts else None
    dense_layers = family.dense_layers(fields, num_layers) if experts else ()
    if len(dense_layers) == num_layers:
        experts, dense_layers = None, ()
    dtype = _dtype(fields)
    spec = ModelSpec(
        name=name,
        family=model_type,
        num_layers=num_layers,
        hidden=fields.count("hidden_size"),
        vocab=fields.count("vocab_size"),
        attention=family.attention(fields),
        dense_width=fields.count(family.dense_width) if dense_layers or not experts else 0,
        experts=experts,
        dense_layers=dense_layers,
        window=window,
        windowed_layers=windowed_layers,
        tied_embeddings=fields.flag("tie_word_embeddings"),
        mlp_bias=fields.flag(family.mlp_bias) if family.mlp_bias else False,
        weight_dtype=dtype,
        kv_dtype=dtype,
        max_positions=fields.count("max_position_embeddings", most=LARGEST_POSITIONS),
        left_out=beside + _prediction_layers(fields),
        source=top.where,
    )
    if fields.values.get("quantization_config") is None:
        return spec
    return quantise(spec, fields.section("quantization_config"))


def _with_quantisation(path: Path, top: Fields) -> Fields:
    """The fields, with the quantisation that stands in a file of its own."""
    beside = (path if path.is_dir() else path.parent) / QUANTISATION_FILE
    if "quantization_config" in top.values or not beside.is_file():
        return top
    stated = read_json(beside, in_folder=beside.name).section("quantization")
    return top.over({"quantization_config": dict(stated.values)})


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


def _refuse_unmodelled(fields: Fields, family: Family) -> None:
    """Refuse, by name, what a family's fields may switch on and is not modelled."""
    for key, what in _known()["unmodelled_fields"].items():
        stated = fields.values.get(key)
        off = stated in (None, False) or (isinstance(stated, list) and all(item == 1 for item in stated))
        if not off:
            fields.refuse(key, f"null: {what} is not modelled")
    for key in family.false:
        if fields.flag(key):
            fields.refuse(key, "false")


PREDICTION_LAYERS = ("num_nextn_predict_layers", "num_mtp_modules", "num_mtp_layers")
"""What families call the number of layers that predict further tokens: DeepSeek and GLM, MiniMax, and
Glm4MoeConfig of transformers 5.23.0."""


def _prediction_layers(fields: Fields) -> tuple[str, ...]:
    """Layers that predict further tokens (DeepSeek-V3, arXiv 2412.19437, section 2.2)."""
    key = next((key for key in PREDICTION_LAYERS if fields.values.get(key) is not None), None)
    number = fields.count(key, least=0, most=2000) if key else 0
    return (f"{number} multi-token-prediction layer{'s' if number > 1 else ''}",) if number else ()


def _dtype(fields: Fields) -> Dtype:
    """`dtype`, as transformers 5 writes it, or `torch_dtype`; bf16 when neither is stated."""
    stated = next((key for key in ("dtype", "torch_dtype") if fields.values.get(key) is not None), None)
    return fields.one_of(stated, DTYPES) if stated else "bf16"


@cache
def _known() -> dict[str, dict[str, Any]]:
    """families.yaml: `defaults` by family; `unmodelled`, the model types refused by name, and fields."""
    text = (Path(__file__).parent / "families.yaml").read_text(encoding="utf-8")
    known: dict[str, dict[str, Any]] = yaml.load(text, Loader=yaml.CSafeLoader)
    return known
