"""The KV cache: bytes that a token keeps, in a layer, in the model, and on one rank.

GQA keeps a key and a value row of head_dim for every KV head (arXiv 2305.13245). MLA keeps one latent
row of kv_lora_rank and one rotary key of qk_rope_head_dim, shared by all heads (DeepSeek-V2, arXiv
2405.04434, section 2.1.2): to sharding it is a single KV head.

A layer with a sliding window needs the KV of its window alone. vLLM keeps blocks by group of layers and
frees those that a window has left (vllm/v1/core/single_type_kv_cache_manager.py, SlidingWindowManager). An
engine without such a hybrid manager keeps every token in every layer: more than is said here.
"""

from collections import Counter
from typing import overload

from shardwright.model.spec import GQA, ModelSpec
from shardwright.record import Size


def kv_bytes_per_token_per_layer(spec: ModelSpec) -> float:
    """Bytes of one token's KV in one layer, unsharded."""
    return kv_bytes_per_token_per_layer_per_rank(spec, 1)


def kv_bytes_per_token(spec: ModelSpec, length: int = 1) -> float:
    """Bytes of one token's KV in all layers, unsharded: the mean over a sequence of `length` tokens.

    A token that stands alone is in every window. Mistral-Small-3.1-24B in bf16 keeps 163,840 B:
    40 layers x 8 KV heads x 2 x 128 x 2 B.
    """
    layers = sum(
        count * kept_share(shape.window, length) for shape, count in Counter(spec.layer_shapes).items()
    )
    return layers * kv_bytes_per_token_per_layer(spec)


def kept_share(window: int | None, length: int) -> float:
    """The share of a sequence of `length` tokens whose KV a layer keeps: all of it, or its window."""
    return 1.0 if window is None else min(1.0, window / length)


@overload
def kv_bytes_per_token_per_layer_per_rank(spec: ModelSpec, tp: int) -> float: ...
@overload
def kv_bytes_per_token_per_layer_per_rank(spec: ModelSpec, tp: Size) -> Size: ...
def kv_bytes_per_token_per_layer_per_rank(spec: ModelSpec, tp: Size) -> Size:
    """Bytes of one token's KV in one layer on one of `tp` ranks; an array of degrees gives an array.

    KV heads are shared out whole and replicated where there are fewer than ranks, so a rank holds
    ceil(heads / tp) of them, and one rank holds the latent row of MLA like the next (vLLM 0.11,
    ModelConfig.get_num_kv_heads).
    """
    attention = spec.attention
    if isinstance(attention, GQA):
        num_heads, width = attention.num_kv_heads, 2 * attention.head_dim
    else:
        num_heads, width = 1, attention.kv_lora_rank + attention.qk_rope_head_dim
    return -(-num_heads // tp) * (width * spec.kv_bytes)
