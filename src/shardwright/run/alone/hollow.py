"""A model that is all shape: the configuration of transformers for a ModelSpec, and weights drawn when read.

What a ModelSpec does not hold takes the default of the family's configuration: it changes values, not
shapes. The groups among which DeepSeek's router chooses are one.
"""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, PreTrainedConfig

from shardwright.errors import InputError
from shardwright.layout.shards import Slices
from shardwright.model.hf import read_config
from shardwright.model.spec import GQA, ModelSpec
from shardwright.model.weights import CORRECTION_BIAS
from shardwright.run.checkpoint import quiet

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
"""Weight dtype -> what it is executed in; all others, quantised ones included, in bf16."""

EXECUTED = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}

Fields = dict[str, Any]


def _experts(model: ModelSpec, number: str, width: str) -> Fields:
    """number, width: what the family calls the count of experts and the width of one."""
    experts = model.experts
    if experts is None:
        return {}
    return {number: experts.num_experts, width: experts.width, "num_experts_per_tok": experts.top_k}


def _latent(model: ModelSpec) -> Fields:
    experts = model.experts
    shared = experts.shared_width // experts.width if experts else 0
    groups = experts.groups if experts else 1
    return {
        **model.attention.model_dump(exclude={"kind", "num_heads", "bias"}),
        **_experts(model, "n_routed_experts", "moe_intermediate_size"),
        "num_key_value_heads": model.attention.num_heads,
        "n_shared_experts": shared,
        "first_k_dense_replace": len(model.dense_layers),
        "n_group": groups,
        "topk_group": experts.top_groups if experts else 1,
        "topk_method": "group_limited_greedy" if groups > 1 else "greedy",
    }


def _windows(model: ModelSpec) -> Fields:
    kinds = {True: "sliding_attention", False: "full_attention"}
    types = [kinds[layer in model.windowed_layers] for layer in range(model.num_layers)]
    return {"sliding_window": model.window, "layer_types": types}


FAMILIES: dict[str, Callable[[ModelSpec], Fields]] = {
    "llama": lambda model: {"mlp_bias": model.mlp_bias},
    "qwen3": lambda model: {},
    "mixtral": lambda model: _experts(model, "num_local_experts", "intermediate_size"),
    "qwen3_moe": lambda model: {
        **_experts(model, "num_experts", "moe_intermediate_size"),
        "mlp_only_layers": list(model.dense_layers),
    },
    "olmoe": lambda model: _experts(model, "num_experts", "intermediate_size"),
    "deepseek_v2": _latent,
    "deepseek_v3": _latent,
    "gpt_oss": lambda model: _experts(model, "num_local_experts", "intermediate_size") | _windows(model),
}
"""A family that our runtime executes -> the fields of its configuration beside the common ones."""

STAND_INS = {
    ("none", False): "llama",
    ("head", False): "qwen3",
    ("none", True): "mixtral",
    ("head", True): "qwen3_moe",
    ("full", True): "olmoe",
}
"""(norm of q and k, has experts) -> the family that executes a model of no family of ours."""

NOT_EXECUTED = ("name", "family", "source", "left_out", "weight_dtype", "quantised", "kv_dtype")
"""Facts of a model that its configuration here need not have: the runtime's dtype is its own."""


def executed_model(model: ModelSpec) -> ModelSpec:
    """The model as our runtime executes it: no weight, and no KV, is quantised."""
    dtype = EXECUTED[executed_dtype(model)]
    experts = model.experts and model.experts.model_copy(update={"weight_dtype": None})
    plain = {"weight_dtype": dtype, "quantised": (), "kv_dtype": dtype, "experts": experts}
    return model.model_copy(update=plain)


def executed_dtype(model: ModelSpec) -> torch.dtype:
    """What the weights of a model are executed in."""
    return DTYPES.get(model.weight_dtype, torch.bfloat16)


def hollow_config(model: ModelSpec, *, attention: str = "eager", experts: str = "eager") -> PreTrainedConfig:
    """The configuration of transformers whose model has the shapes of `model`, its family's or a stand-in's.

    attention, experts: kernels, as transformers names them. Raises InputError when no family that our
    runtime executes has these shapes: the configuration, read as a config.json is, must be the model again.
    """
    family = _family(model)
    fields = _common(model) | FAMILIES[family](model)
    pinned = {
        "dtype": executed_dtype(model),
        "attn_implementation": attention,
        "experts_implementation": experts,
    }
    try:
        with quiet():
            config: PreTrainedConfig = cast(Any, CONFIG_MAPPING[family])(**fields, **pinned)
    except Exception as error:  # the checks of transformers have no common error
        reason = " ".join(str(error).split())
        allowed = f"a model that transformers can build as {family} ({reason})"
        raise InputError("model", model.name, allowed) from error
    ours, theirs = _facts(model), _facts(read_config(config.to_dict(), name=model.name))
    for field, value in ours.items():
        if theirs.get(field) != value:
            allowed = f"{theirs.get(field)!r}, as {family} has it: the nearest that our runtime executes"
            raise InputError(f"model.{field}", value, allowed)
    return config


class HollowCheckpoint:
    """Stands in for a Checkpoint: every tensor is drawn when it is read, on its device, slice by slice.

    Norms are 1, all else is normal with mean 0 and deviation 1 / sqrt(its last dim, unsliced), so that
    activations keep about their size from layer to layer. bytes_read: of all slices drawn so far.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device, *, seed: int = 0) -> None:
        self.bytes_read = 0
        self._dtype, self._device = dtype, device
        self._generator = torch.Generator(device).manual_seed(seed)

    def read(self, name: str, slices: Slices, *, shape: tuple[int, ...]) -> Tensor:
        """A part of a tensor of `shape`; correction biases are fp32, as checkpoints have them."""
        dtype = torch.float32 if name.endswith(CORRECTION_BIAS) else self._dtype
        part = torch.empty([s.stop - s.start for s in slices], dtype=dtype, device=self._device)
        if "norm" in name:
            part.fill_(1.0)
        else:
            part.normal_(0.0, 1 / math.sqrt(shape[-1]), generator=self._generator)
        self.bytes_read += part.nbytes
        return part


def _family(model: ModelSpec) -> str:
    """The model's own family, or the one that stands in for it."""
    if model.family in FAMILIES:
        return model.family
    if not isinstance(model.attention, GQA):
        return "deepseek_v2"
    key = (model.attention.qk_norm, model.experts is not None)
    if key not in STAND_INS:
        raise InputError("model.attention.qk_norm", key[0], "none or head in a model without experts")
    return STAND_INS[key]


def _common(model: ModelSpec) -> Fields:
    attention = model.attention
    fields: Fields = {
        "num_hidden_layers": model.num_layers,
        "hidden_size": model.hidden,
        "vocab_size": model.vocab,
        "num_attention_heads": attention.num_heads,
        "tie_word_embeddings": model.tied_embeddings,
        "max_position_embeddings": model.max_positions,
        "attention_bias": attention.output_bias if isinstance(attention, GQA) else attention.bias,
    }
    if isinstance(attention, GQA):
        fields |= {"num_key_value_heads": attention.num_kv_heads, "head_dim": attention.head_dim}
    if model.dense_width:
        fields["intermediate_size"] = model.dense_width
    return fields


def _facts(model: ModelSpec) -> Fields:
    """What is executed of a model, by the path of its field."""
    facts = executed_model(model).model_dump(exclude=set(NOT_EXECUTED))
    for part in ("attention", "experts"):
        inner = facts.pop(part)
        facts |= {f"{part}.{field}": value for field, value in (inner or {}).items()}
    return facts
