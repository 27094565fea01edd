"""Attention by torch's scaled_dot_product_attention: prompts, and one new token against a KV cache."""

from collections.abc import Callable, Iterator

from torch.nn import functional as F  # noqa: N812

from shardwright.model.dtype import BITS, Dtype
from shardwright.run.measure.arena import Arena
from shardwright.run.measure.bench import Case
from shardwright.run.measure.dtypes import TORCH
from shardwright.steps.operation import Attention, Phase

HEADS = (
    *((8, 1, 128), (8, 2, 128), (8, 8, 128), (16, 2, 128), (16, 16, 128), (32, 4, 128), (32, 8, 128)),
    *((4, 1, 64), (8, 8, 64), (14, 2, 64), (32, 8, 64), (64, 8, 64), (8, 1, 256), (16, 8, 256)),
)
"""(query heads, KV heads, size of a head): models of 0.5 B to 70 B, and shards of them."""

PROMPTS = (
    (1, 64),
    (1, 128),
    (1, 256),
    (1, 512),
    (1, 1024),
    (1, 2048),
    (1, 4096),
    (1, 8192),
    (4, 256),
    (4, 1024),
)
"""(sequences, tokens of each)."""

CACHES = tuple(
    (sequences, context) for context in (128, 512, 2048, 8192, 32768) for sequences in (1, 4, 16, 64)
)
"""(sequences, tokens of each in the cache)."""


def prefill_cases(dtype: Dtype) -> Iterator[Case]:
    """Whole prompts, causal."""
    for heads in HEADS:
        for sequences, tokens in PROMPTS:
            yield _case("prefill", sequences, tokens, tokens, heads, dtype)


def decode_cases(dtype: Dtype) -> Iterator[Case]:
    """One token a sequence."""
    for heads in HEADS:
        for sequences, context in CACHES:
            yield _case("decode", sequences, 1, context, heads, dtype)


def _case(
    phase: Phase, sequences: int, query_tokens: int, context: int, shape: tuple[int, int, int], dtype: Dtype
) -> Case:
    heads, kv_heads, head_dim = shape
    operation = Attention(
        name="",
        phase=phase,
        sequences=sequences,
        query_tokens=query_tokens,
        context=context,
        heads=heads,
        kv_heads=kv_heads,
        qk_dim=head_dim,
        v_dim=head_dim,
        kv_dtype=dtype,
        row_bytes=2 * kv_heads * head_dim * BITS[dtype] / 8,
    )

    def ready(arena: Arena) -> Callable[[], object]:
        query = arena.take(sequences, heads, query_tokens, head_dim, dtype=TORCH[dtype])
        key, value = (
            arena.take(sequences, kv_heads, context, head_dim, dtype=TORCH[dtype]) for _ in range(2)
        )
        return lambda: F.scaled_dot_product_attention(
            query, key, value, is_causal=phase == "prefill", enable_gqa=kv_heads < heads
        )

    return Case(operation=operation, shape=shape, ready=ready)
