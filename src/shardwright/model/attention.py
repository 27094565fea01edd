"""How a config.json states attention: its heads, its biases and norms, its windows.

Shapes follow the modelling files of transformers 5.23.0, src/transformers/models/MODEL_TYPE.
"""

from collections.abc import Iterable
from typing import Literal

from shardwright.model.fields import Fields
from shardwright.model.spec import GQA, MLA

FULL = "full_attention"

Windows = tuple[int | None, tuple[int, ...]]
"""What a windowed layer sees, and which layers are windowed; None and () where every layer sees all."""


def gqa(
    fields: Fields,
    *,
    bias: Literal["stated", "stated_qkv", "qkv", "none"] = "stated",
    qk_norm: Literal["none", "head", "full", "stated"] = "none",
    sinks: bool = False,
) -> GQA:
    """bias: as attention_bias says, everywhere or on q, k and v alone; or on those in any case, or nowhere.

    qk_norm: 'stated' is a norm of each head where use_qk_norm says so.
    """
    hidden, num_heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    num_kv_heads = fields.count_or_none("num_key_value_heads") or num_heads
    if num_heads % num_kv_heads:
        fields.refuse("num_key_value_heads", f"a divisor of num_attention_heads {num_heads}")
    head_dim = fields.count_or_none("head_dim")
    if head_dim is None and hidden % num_heads:
        fields.refuse("num_attention_heads", f"a divisor of hidden_size {hidden}, or a stated head_dim")
    stated = bias in ("stated", "stated_qkv") and fields.flag("attention_bias")
    if qk_norm == "stated":
        qk_norm = "head" if fields.flag("use_qk_norm") else "none"
    return GQA(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim or hidden // num_heads,
        qkv_bias=stated or bias == "qkv",
        output_bias=stated and bias == "stated",
        qk_norm=qk_norm,
        sinks=sinks,
    )


def mla(fields: Fields) -> MLA:
    """Latent attention as DeepSeek V2 and V3 state it."""
    return MLA(
        num_heads=fields.count("num_attention_heads"),
        q_lora_rank=fields.count_or_none("q_lora_rank"),
        kv_lora_rank=fields.count("kv_lora_rank"),
        qk_nope_head_dim=fields.count("qk_nope_head_dim"),
        qk_rope_head_dim=fields.count("qk_rope_head_dim"),
        v_head_dim=fields.count("v_head_dim"),
        bias=fields.flag("attention_bias"),
    )


def no_windows(fields: Fields, num_layers: int) -> Windows:
    """Refuses windows: the family's class in transformers has none."""
    if fields.values.get("sliding_window") not in (None, False):
        fields.refuse("sliding_window", "null: the attention of this family has no window")
    return _windows(fields, num_layers, kind=None, otherwise=())


def every_layer(fields: Fields, num_layers: int, *, switch: str = "") -> Windows:
    """MistralModel, Phi3Model, Qwen3MoeModel: every layer, where sliding_window is stated and switched on."""
    on = fields.values.get("sliding_window") is not None and (not switch or fields.flag(switch))
    return _windows(fields, num_layers, otherwise=range(num_layers) if on else ())


def later_layers(fields: Fields, num_layers: int, *, switch: str = "") -> Windows:
    """Qwen2Config, Qwen3Config, Dots1Config: the layers from max_window_layers on."""
    if fields.values.get("sliding_window") is None or (switch and not fields.flag(switch)):
        return _windows(fields, num_layers, kind=None, otherwise=())
    first = fields.count("max_window_layers", least=0)
    return _windows(fields, num_layers, otherwise=range(first, num_layers))


def even_layers_before(fields: Fields, num_layers: int, *, switch: str) -> Windows:
    """Qwen2MoeConfig: every second layer of those before max_window_layers."""
    if not fields.flag(switch):
        return _windows(fields, num_layers, kind=None, otherwise=())
    most = min(num_layers, fields.count("max_window_layers", least=0))
    return _windows(fields, num_layers, otherwise=range(0, most, 2))


def in_turn(fields: Fields, num_layers: int, *, full_each: int) -> Windows:
    """GptOssConfig, Gemma2Config (2), Gemma3TextConfig (6): every full_each-th layer sees all.

    Gemma 3 may state the number as sliding_window_pattern.
    """
    each = full_each
    if fields.values.get("sliding_window_pattern") is not None:
        each = fields.count("sliding_window_pattern")
    windowed = [layer for layer in range(num_layers) if (layer + 1) % each]
    return _windows(fields, num_layers, otherwise=windowed)


def chunks(fields: Fields, num_layers: int) -> Windows:
    """Llama4TextConfig: chunks of attention_chunk_size, but in the layers without rotary positions."""
    rotary = fields.values.get("no_rope_layers")
    if not rotary:  # absent, null and [] are the same to the class
        each = fields.count("no_rope_layer_interval")
        chunked = [layer for layer in range(num_layers) if (layer + 1) % each]
    elif isinstance(rotary, list) and len(rotary) >= num_layers and all(mark in (0, 1) for mark in rotary):
        chunked = [layer for layer in range(num_layers) if rotary[layer]]
    else:
        fields.refuse("no_rope_layers", f"{num_layers} times 0 or 1")
    if fields.values.get("attention_chunk_size") is None:
        return None, ()
    kind, size = "chunked_attention", "attention_chunk_size"
    return _windows(fields, num_layers, kind=kind, size=size, otherwise=chunked)


def _windows(
    fields: Fields,
    num_layers: int,
    *,
    otherwise: Iterable[int],
    kind: str | None = "sliding_attention",
    size: str = "sliding_window",
) -> Windows:
    """The layers that layer_types calls `kind`, or `otherwise` where it is not stated; `size` is the field
    that says what they see. Raises InputError for a kind of layer that is not modelled."""
    types = fields.values.get("layer_types")
    if types is None:
        windowed = tuple(otherwise)
    else:
        known = (kind, FULL) if kind else (FULL,)
        if (
            not isinstance(types, list)
            or len(types) != num_layers
            or any(stated not in known for stated in types)
        ):
            fields.refuse("layer_types", f"{num_layers} times {' or '.join(known)}")
        windowed = tuple(layer for layer, stated in enumerate(types) if stated == kind)
    return (fields.count(size), windowed) if windowed else (None, ())
