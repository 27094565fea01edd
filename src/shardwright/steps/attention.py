"""The attention block of one layer on one rank, up to the sum over its TP group.

Sources: GQA under TP after Megatron-LM (arXiv 1909.08053); MLA after DeepSeek-V2 (arXiv 2405.04434),
decode with the up-projections absorbed, as vLLM and SGLang run it.
"""

from collections.abc import Iterator

import numpy as np

from shardwright.engine.engine import Degrees
from shardwright.model.dtype import BITS
from shardwright.model.kv import kv_bytes_per_token_per_layer_per_rank
from shardwright.model.spec import GQA, MLA, LayerShape, ModelSpec
from shardwright.record import Size
from shardwright.steps.forms import Forms, hidden_sum
from shardwright.steps.load import Load
from shardwright.steps.operation import AllReduce, Attention, Gemm, Operation, Small

SQUARES_BYTES = 2 * BITS["fp32"] / 8
"""Of one token: the sum of squares of q and that of k."""


def gemm(model: ModelSpec, name: str, m: Size, n: Size, k: Size, batch: Size | None = None) -> Gemm:
    """A GEMM, or a batch of them, against weights in the model's dtype."""
    return Gemm(
        name=name,
        batch=batch,
        m=m,
        n=n,
        k=k,
        weight_dtype=model.weight_dtype,
        weight_bytes=model.weight_bytes,
        in_blocks=model.in_blocks(model.weight_dtype),
        activation_bytes=model.activation_bytes,
    )


def norm(model: ModelSpec, load: Load, name: str) -> Small:
    """RMSNorm fused with the residual: reads and writes two rows a token."""
    return Small(name=name, moved_bytes=4 * load.tokens * model.hidden * model.activation_bytes)


def attention_block(
    model: ModelSpec, layer: LayerShape, degrees: Degrees, load: Load, forms: Forms
) -> Iterator[Operation]:
    """Norm, projections, attention, output projection, all-reduce over tp."""
    yield norm(model, load, "attention_norm")
    if isinstance(model.attention, MLA):
        yield from _latent(model, model.attention, layer, degrees, load)
    else:
        yield from _grouped_query(model, model.attention, layer, degrees, load)
    yield from hidden_sum("attention_sum", model, load, degrees.tp, forms)


def _in_windows(layer: LayerShape, load: Load) -> Size:
    """Tokens of KV that the queries of one sequence see in the layer, taken together."""
    if layer.window is None:
        return load.context
    return np.minimum(load.context, layer.window + load.query_tokens - 1)


def _grouped_query(
    model: ModelSpec, shape: GQA, layer: LayerShape, degrees: Degrees, load: Load
) -> Iterator[Operation]:
    """A norm over the whole projection needs the squares of all heads, from every rank of the group."""
    heads = shape.num_heads / degrees.tp
    kv_heads = np.maximum(1, np.ceil(shape.num_kv_heads / degrees.tp))
    width = heads * shape.head_dim
    qkv = width + 2 * kv_heads * shape.head_dim
    yield gemm(model, "qkv", load.tokens, qkv, model.hidden)
    if shape.qk_norm == "full":
        yield AllReduce(
            name="qk_norm_sum",
            axis="tp",
            num_ranks=degrees.tp,
            payload_bytes=load.tokens * SQUARES_BYTES,
        )
    yield Small(name="rope_and_cache", moved_bytes=2 * load.tokens * qkv * model.activation_bytes)
    yield Attention(
        name="attention",
        phase=load.phase,
        sequences=load.sequences,
        query_tokens=load.query_tokens,
        context=_in_windows(layer, load),
        window=layer.window,
        heads=heads,
        kv_heads=kv_heads,
        qk_dim=shape.head_dim,
        v_dim=shape.head_dim,
        row_bytes=kv_bytes_per_token_per_layer_per_rank(model, degrees.tp),
        kv_dtype=model.kv_dtype,
    )
    yield gemm(model, "attention_output", load.tokens, model.hidden, width)


def _latent(
    model: ModelSpec, shape: MLA, layer: LayerShape, degrees: Degrees, load: Load
) -> Iterator[Operation]:
    heads = shape.num_heads / degrees.tp
    query = heads * (shape.qk_nope_head_dim + shape.qk_rope_head_dim)
    latent = shape.kv_lora_rank + shape.qk_rope_head_dim
    yield gemm(model, "latent_down", load.tokens, latent + (shape.q_lora_rank or 0), model.hidden)
    yield gemm(model, "query_up", load.tokens, query, shape.q_lora_rank or model.hidden)
    rotated = load.tokens * (query + latent) * model.activation_bytes
    yield Small(name="rope_and_cache", moved_bytes=2 * rotated)
    absorbed = load.phase == "decode"
    if absorbed:
        yield gemm(model, "key_up", load.tokens, shape.kv_lora_rank, shape.qk_nope_head_dim, heads)
    else:
        up = heads * (shape.qk_nope_head_dim + shape.v_head_dim)
        yield gemm(model, "key_value_up", load.tokens, up, shape.kv_lora_rank)
    yield Attention(
        name="attention",
        phase=load.phase,
        sequences=load.sequences,
        query_tokens=load.query_tokens,
        context=_in_windows(layer, load),
        window=layer.window,
        heads=heads,
        kv_heads=1 if absorbed else heads,
        qk_dim=latent if absorbed else shape.qk_nope_head_dim + shape.qk_rope_head_dim,
        v_dim=shape.kv_lora_rank if absorbed else shape.v_head_dim,
        row_bytes=kv_bytes_per_token_per_layer_per_rank(model, degrees.tp),
        kv_dtype=model.kv_dtype,
        latent=True,
    )
    if absorbed:
        yield gemm(model, "value_up", load.tokens, shape.v_head_dim, shape.kv_lora_rank, heads)
    yield gemm(model, "attention_output", load.tokens, model.hidden, heads * shape.v_head_dim)
