"""Every weight of a model as a row, in the names of its checkpoint.

Names and shapes follow the published checkpoints; the modelling files of transformers 5.23.0 hold the
same tensors, with all experts of a layer fused into one. A family without names of its own, such as
'generic', has those of Qwen3-MoE. Sharding after Megatron-LM (arXiv 1909.08053) and the parallel
linear layers of vLLM.

Stored bytes: linear layers have the model's weight dtype, experts their own where they state one.
Embedding, head, router, norms and biases are not quantised: 2 bytes at least. The fp32 scales of block
fp8, one for 128 x 128 values (0.02 %), are not counted; the byte of scale for 32 values of mxfp4 (6 %) is.
gpt-oss's published checkpoints split an expert matrix into `_blocks` and `_scales`; its row is the matrix
that these hold, as transformers unpacks and saves it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

from shardwright.model.spec import BITS, GQA, MLA, Experts, Mlp, ModelSpec
from shardwright.model.weight import Part, Weight

KEPT: frozenset[Part] = frozenset({"embedding", "norm", "router", "head"})
"""Parts that a quantised checkpoint keeps in 16 bits (DeepSeek-V3, arXiv 2412.19437, section 3.3.1)."""

CORRECTION_BIAS = "mlp.gate.e_score_correction_bias"
"""A buffer, not a parameter, and fp32 in every checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """What a family calls its tensors, where families differ."""

    prefix: str = ""
    moe: str = "mlp"
    router: str = "gate"
    gate: str = "gate_proj"
    up: str = "up_proj"
    down: str = "down_proj"
    shared: str = "mlp.shared_expert"
    fused_experts: bool = False
    """All experts in one tensor, [in, out], gate and up interleaved: gate_up_proj, down_proj."""


NAMES: dict[str, Names] = {
    "mixtral": Names(moe="block_sparse_moe", gate="w1", up="w3", down="w2"),
    "deepseek_v2": Names(shared="mlp.shared_experts"),
    "deepseek_v3": Names(shared="mlp.shared_experts"),
    "gpt_oss": Names(router="router", fused_experts=True),
    "mistral3": Names(prefix="language_model."),
}


def weights(spec: ModelSpec) -> tuple[Weight, ...]:
    """Every weight of the model: embedding, the layers in order, the last norm, the head.

    Tied embeddings have no row for the head; see `output_head`.
    """
    prefix = _names(spec).prefix
    blocks = {mlp: _block(spec, mlp) for mlp in {shape.mlp for shape in spec.layer_shapes}}
    rows = [_embedding(spec)]
    for layer, shape in enumerate(spec.layer_shapes):
        rows += _placed(blocks[shape.mlp], prefix, layer)
    norm = Weight(name=f"{prefix}model.norm.weight", shape=(spec.hidden,), part="norm", sharding="replicate")
    rows.append(_stored(spec, norm))
    if not spec.tied_embeddings:
        rows.append(output_head(spec))
    return tuple(rows)


def layer_weights(spec: ModelSpec, layer: int) -> tuple[Weight, ...]:
    """The weights of layer `layer`."""
    return tuple(_placed(_block(spec, spec.layer_shapes[layer].mlp), _names(spec).prefix, layer))


def output_head(spec: ModelSpec) -> Weight:
    """The matrix that the last stage multiplies by: lm_head, or the embedding's own values when tied.

    With one stage the tied head is the embedding's memory; a last stage of its own holds a copy.
    """
    row = _embedding(spec)
    name = row.name if spec.tied_embeddings else f"{_names(spec).prefix}lm_head.weight"
    return replace(row, name=name, part="head")


def num_parameters(spec: ModelSpec) -> int:
    """Parameters of the decoder, embedding and head counted (once when tied).

    The correction bias of DeepSeek's router is a buffer and not among them.
    """
    return sum(row.num_elements for row in weights(spec) if not row.name.endswith(CORRECTION_BIAS))


def num_active_parameters(spec: ModelSpec) -> int:
    """Parameters that one token uses: of the routed experts top_k, and all else.

    Embedding and head are counted in full, as the publishers of Mixtral and Qwen3 do.
    """
    idle = sum(row.num_elements for row in weights(spec) if row.num_experts)
    if spec.experts is not None:
        idle -= idle // spec.experts.num_experts * spec.experts.top_k
    return num_parameters(spec) - idle


def bytes_by_part(spec: ModelSpec) -> dict[Part, float]:
    """Stored bytes of the whole model by part; 0 for a part that it lacks."""
    parts: dict[Part, float] = dict.fromkeys(get_args(Part), 0.0)
    for row in weights(spec):
        parts[row.part] += row.num_bytes
    return parts


def _names(spec: ModelSpec) -> Names:
    return NAMES.get(spec.family, Names())


def _stored(spec: ModelSpec, row: Weight) -> Weight:
    """The row with the bytes that one of its elements takes on disk and on the GPU."""
    if row.name.endswith(CORRECTION_BIAS):
        return replace(row, bytes_per_element=BITS["fp32"] / 8)
    if row.part in KEPT or len(row.shape) == 1:
        return replace(row, bytes_per_element=max(spec.weight_bytes, BITS["bf16"] / 8))
    return replace(row, bytes_per_element=spec.expert_bytes if row.part == "expert" else spec.weight_bytes)


def _placed(block: tuple[Weight, ...], prefix: str, layer: int) -> Iterator[Weight]:
    stem = f"{prefix}model.layers.{layer}."
    return (replace(row, name=stem + row.name, layer=layer) for row in block)


def _embedding(spec: ModelSpec) -> Weight:
    name = f"{_names(spec).prefix}model.embed_tokens.weight"
    row = Weight(name=name, shape=(spec.vocab, spec.hidden), part="embedding", sharding="vocab")
    return _stored(spec, row)


def _block(spec: ModelSpec, mlp: Mlp) -> tuple[Weight, ...]:
    """The weights of any one layer with that MLP, named from within the layer."""
    attention, hidden, names = spec.attention, spec.hidden, _names(spec)
    rows = [*(_gqa(attention, hidden) if isinstance(attention, GQA) else _mla(attention, hidden))]
    rows += [_norm("input_layernorm", hidden), _norm("post_attention_layernorm", hidden)]
    if mlp == "moe" and spec.experts is not None:
        rows += _moe(spec.experts, hidden, names)
    else:
        rows += _mlp("mlp", hidden, spec.dense_width, "dense")
        if spec.mlp_bias:
            rows += _mlp_biases(hidden, spec.dense_width)
    return tuple(_stored(spec, row) for row in rows)


def _norm(name: str, width: int) -> Weight:
    return Weight(name=f"{name}.weight", shape=(width,), part="norm", sharding="replicate")


def _attention(name: str, shape: tuple[int, ...], sharding: str, num_units: int = 0) -> Weight:
    return Weight(
        name=f"self_attn.{name}", shape=shape, part="attention", sharding=sharding, num_units=num_units
    )


def _gqa(attention: GQA, hidden: int) -> Iterator[Weight]:
    heads, kv_heads, head_dim = attention.num_heads, attention.num_kv_heads, attention.head_dim
    for name, sharding, units in (
        ("q_proj", "heads", heads),
        ("k_proj", "kv_heads", kv_heads),
        ("v_proj", "kv_heads", kv_heads),
    ):
        yield _attention(f"{name}.weight", (units * head_dim, hidden), sharding, units)
        if attention.qkv_bias:
            yield _attention(f"{name}.bias", (units * head_dim,), sharding, units)
    yield _attention("o_proj.weight", (hidden, heads * head_dim), "heads_row", heads)
    if attention.output_bias:
        yield _attention("o_proj.bias", (hidden,), "first_rank")
    if attention.sinks:
        yield _attention("sinks", (heads,), "heads", heads)
    if attention.qk_norm == "head":
        yield _norm("self_attn.q_norm", head_dim)
        yield _norm("self_attn.k_norm", head_dim)
    if attention.qk_norm == "full":
        yield replace(_norm("self_attn.q_norm", heads * head_dim), sharding="heads", num_units=heads)
        yield replace(_norm("self_attn.k_norm", kv_heads * head_dim), sharding="kv_heads", num_units=kv_heads)


def _mla(attention: MLA, hidden: int) -> Iterator[Weight]:
    """DeepSeek's latent attention; q_proj stands alone where queries have no latent row of their own."""
    heads, q_rank, kv_rank = attention.num_heads, attention.q_lora_rank, attention.kv_lora_rank
    q_width = heads * (attention.qk_nope_head_dim + attention.qk_rope_head_dim)
    kv_width = heads * (attention.qk_nope_head_dim + attention.v_head_dim)
    latent = kv_rank + attention.qk_rope_head_dim
    if q_rank is None:
        yield _attention("q_proj.weight", (q_width, hidden), "heads", heads)
    else:
        yield _attention("q_a_proj.weight", (q_rank, hidden), "replicate")
        if attention.bias:
            yield _attention("q_a_proj.bias", (q_rank,), "replicate")
        yield _norm("self_attn.q_a_layernorm", q_rank)
        yield _attention("q_b_proj.weight", (q_width, q_rank), "heads", heads)
    yield _attention("kv_a_proj_with_mqa.weight", (latent, hidden), "replicate")
    if attention.bias:
        yield _attention("kv_a_proj_with_mqa.bias", (latent,), "replicate")
    yield _norm("self_attn.kv_a_layernorm", kv_rank)
    yield _attention("kv_b_proj.weight", (kv_width, kv_rank), "heads", heads)
    yield _attention("o_proj.weight", (hidden, heads * attention.v_head_dim), "heads_row", heads)
    if attention.bias:
        yield _attention("o_proj.bias", (hidden,), "first_rank")


def _mlp(stem: str, hidden: int, width: int, part: Part) -> Iterator[Weight]:
    for name in ("gate_proj", "up_proj"):
        yield Weight(name=f"{stem}.{name}.weight", shape=(width, hidden), part=part, sharding="column")
    yield Weight(name=f"{stem}.down_proj.weight", shape=(hidden, width), part=part, sharding="row")


def _mlp_biases(hidden: int, width: int) -> Iterator[Weight]:
    for name in ("gate_proj", "up_proj"):
        yield Weight(name=f"mlp.{name}.bias", shape=(width,), part="dense", sharding="column")
    yield Weight(name="mlp.down_proj.bias", shape=(hidden,), part="dense", sharding="first_rank")


def _moe(experts: Experts, hidden: int, names: Names) -> Iterator[Weight]:
    number, router = experts.num_experts, f"{names.moe}.{names.router}"
    matrix = Weight(name=f"{router}.weight", shape=(number, hidden), part="router", sharding="replicate")
    yield matrix
    if experts.router_bias:
        yield replace(matrix, name=f"{router}.bias", shape=(number,))
    if experts.correction_bias:
        yield replace(matrix, name=CORRECTION_BIAS, shape=(number,))
    routed = _fused_experts if names.fused_experts else _single_experts
    for row in routed(experts, hidden, names):
        yield replace(row, name=f"{names.moe}.experts.{row.name}", num_experts=number)
    if experts.shared_width:
        yield from _mlp(names.shared, hidden, experts.shared_width, "shared")
    if experts.shared_gate:
        name = f"{names.shared}_gate.weight"
        yield Weight(name=name, shape=(1, hidden), part="shared", sharding="replicate")


def _expert(name: str, shape: tuple[int, ...], sharding: str) -> Weight:
    return Weight(name=name, shape=shape, part="expert", sharding=sharding)


def _single_experts(experts: Experts, hidden: int, names: Names) -> Iterator[Weight]:
    """Each expert's matrices as tensors of their own."""
    width = experts.width
    for name, out, inner, sharding, of_bias in (
        (names.gate, width, hidden, "expert_column", "expert_column"),
        (names.up, width, hidden, "expert_column", "expert_column"),
        (names.down, hidden, width, "expert_row", "expert_first_rank"),
    ):
        yield _expert(f"{{expert}}.{name}.weight", (out, inner), sharding)
        if experts.bias:
            yield _expert(f"{{expert}}.{name}.bias", (out,), of_bias)


def _fused_experts(experts: Experts, hidden: int, names: Names) -> Iterator[Weight]:
    """One tensor for all experts (GptOssExperts of transformers 5.23.0)."""
    width = experts.width
    pairs = _expert("gate_up_proj", (hidden, 2 * width), "expert_pairs")
    down = _expert("down_proj", (width, hidden), "expert_row_in_out")
    yield replace(pairs, num_units=width, fused_experts=True)
    yield replace(down, fused_experts=True)
    if experts.bias:
        pairs_bias = _expert("gate_up_proj_bias", (2 * width,), "expert_pairs_bias")
        yield replace(pairs_bias, num_units=width, fused_experts=True)
        yield replace(_expert("down_proj_bias", (hidden,), "expert_first_rank"), fused_experts=True)
