"""How the config.json of each family (a `model_type`) is read: one row a family.

Shapes follow the modelling files of transformers 5.23.0, src/transformers/models/MODEL_TYPE.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from shardwright.model.fields import LARGEST_COUNT, Fields
from shardwright.model.spec import GQA, MLA, Experts


@dataclass(frozen=True, kw_only=True)
class Family:
    """How the config.json of one model_type is read."""

    attention: Callable[[Fields], GQA | MLA]
    experts: Callable[[Fields], Experts] | None = None
    dense_layers: Callable[[Fields, int], tuple[int, ...]] = lambda fields, num_layers: ()
    """The layers without experts, in a family that has them."""
    window_switch: Literal["sliding_window", "use_sliding_window"] = "sliding_window"
    """The field that switches a sliding window on, which is refused but where windowed_layers reads it."""
    windowed_layers: Callable[[Fields, int], tuple[int, ...]] | None = None
    """The layers that see only `sliding_window` tokens, in a family whose windows are modelled."""
    quantised: Literal["linear", "experts"] = "linear"
    """What a quantization_config speaks of: all linear layers, or the experts' matrices alone."""
    mlp_bias: bool = False
    """The family knows the field mlp_bias."""


def _gqa(
    fields: Fields,
    *,
    bias: Literal["stated", "qkv", "none"],
    qk_norm: Literal["none", "head", "full"] = "none",
    sinks: bool = False,
) -> GQA:
    """bias: as attention_bias says, on q, k and v alone, or nowhere."""
    hidden, num_heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    num_kv_heads = fields.count_or_none("num_key_value_heads") or num_heads
    if num_heads % num_kv_heads:
        fields.refuse("num_key_value_heads", f"a divisor of num_attention_heads {num_heads}")
    head_dim = fields.count_or_none("head_dim")
    if head_dim is None and hidden % num_heads:
        fields.refuse("num_attention_heads", f"a divisor of hidden_size {hidden}, or a stated head_dim")
    everywhere = bias == "stated" and fields.flag("attention_bias")
    return GQA(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim or hidden // num_heads,
        qkv_bias=everywhere or bias == "qkv",
        output_bias=everywhere,
        qk_norm=qk_norm,
        sinks=sinks,
    )


def _mla(fields: Fields) -> MLA:
    return MLA(
        num_heads=fields.count("num_attention_heads"),
        q_lora_rank=fields.count_or_none("q_lora_rank"),
        kv_lora_rank=fields.count("kv_lora_rank"),
        qk_nope_head_dim=fields.count("qk_nope_head_dim"),
        qk_rope_head_dim=fields.count("qk_rope_head_dim"),
        v_head_dim=fields.count("v_head_dim"),
        bias=fields.flag("attention_bias"),
    )


def _experts(
    fields: Fields,
    *,
    number: tuple[str, ...],
    width: str,
    shared: str = "",
    correction_bias: bool = False,
    bias: bool = False,
) -> Experts:
    """number: the names that the count of experts goes by; width and shared: the field that states each.

    bias: in every linear layer, the router's included.
    """
    number_field = next((key for key in number if key in fields.values), number[0])
    num_experts, one_width = fields.count(number_field), fields.count(width)
    top_k = fields.count("num_experts_per_tok")
    if top_k > num_experts:
        fields.refuse("num_experts_per_tok", f"at most {number_field} {num_experts}")
    has_shared = fields.values.get(shared) is not None
    num_shared = fields.count(shared, least=0, most=LARGEST_COUNT // one_width) if has_shared else 0
    return Experts(
        num_experts=num_experts,
        top_k=top_k,
        width=one_width,
        shared_width=num_shared * one_width,
        correction_bias=correction_bias,
        router_bias=bias,
        bias=bias,
    )


def _dense_between(fields: Fields, num_layers: int) -> tuple[int, ...]:
    """Qwen3MoeDecoderLayer: every decoder_sparse_step-th layer has experts, save mlp_only_layers."""
    step, dense = fields.count("decoder_sparse_step"), fields.layers("mlp_only_layers", num_layers)
    return tuple(layer for layer in range(num_layers) if layer in dense or (layer + 1) % step)


def _dense_first(fields: Fields, num_layers: int) -> tuple[int, ...]:
    """DeepseekV2DecoderLayer and V3's: the first first_k_dense_replace layers are dense."""
    if fields.values.get("moe_layer_freq", 1) != 1:
        fields.refuse("moe_layer_freq", "1: experts in every layer after the dense ones")
    return tuple(range(min(num_layers, fields.count("first_k_dense_replace", least=0))))


def _windowed_by_type(fields: Fields, num_layers: int) -> tuple[int, ...]:
    """GptOssConfig: as layer_types says, or every second layer from the first on."""
    windowed, types = "sliding_attention", fields.values.get("layer_types")
    if types is None:
        return tuple(range(0, num_layers, 2))
    known = (windowed, "full_attention")
    if not isinstance(types, list) or len(types) != num_layers or any(kind not in known for kind in types):
        fields.refuse("layer_types", f"{num_layers} times {' or '.join(known)}")
    return tuple(layer for layer, kind in enumerate(types) if kind == windowed)


_deepseek_experts = partial(
    _experts, number=("n_routed_experts",), width="moe_intermediate_size", shared="n_shared_experts"
)

FAMILIES: dict[str, Family] = {
    "llama": Family(attention=partial(_gqa, bias="stated"), mlp_bias=True),
    "mistral": Family(attention=partial(_gqa, bias="none")),
    "mixtral": Family(
        attention=partial(_gqa, bias="none"),
        experts=partial(_experts, number=("num_local_experts",), width="intermediate_size"),
    ),
    "qwen2": Family(attention=partial(_gqa, bias="qkv"), window_switch="use_sliding_window"),
    "qwen3": Family(
        attention=partial(_gqa, bias="stated", qk_norm="head"), window_switch="use_sliding_window"
    ),
    "qwen3_moe": Family(
        attention=partial(_gqa, bias="stated", qk_norm="head"),
        experts=partial(_experts, number=("num_experts", "num_local_experts"), width="moe_intermediate_size"),
        dense_layers=_dense_between,
        window_switch="use_sliding_window",
    ),
    # clip_qkv clips values one by one: it adds no weight and no traffic.
    "olmoe": Family(
        attention=partial(_gqa, bias="stated", qk_norm="full"),
        experts=partial(_experts, number=("num_experts", "num_local_experts"), width="intermediate_size"),
    ),
    "deepseek_v2": Family(attention=_mla, experts=_deepseek_experts, dense_layers=_dense_first),
    "deepseek_v3": Family(
        attention=_mla,
        experts=partial(_deepseek_experts, correction_bias=True),
        dense_layers=_dense_first,
    ),
    "gpt_oss": Family(
        attention=partial(_gqa, bias="stated", sinks=True),
        experts=partial(
            _experts, number=("num_local_experts", "num_experts"), width="intermediate_size", bias=True
        ),
        windowed_layers=_windowed_by_type,
        quantised="experts",
    ),
}
