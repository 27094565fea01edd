"""Every weight of a model as a row, in the names of its checkpoint.

Names and shapes follow the published checkpoints; the modelling files of transformers 5.23.0 hold the
same tensors, with all experts of a layer fused into one. Sharding after Megatron-LM (arXiv 1909.08053)
and the parallel linear layers of vLLM.

Stored bytes: a quantised linear layer has those of its scheme, values, scales and padding. Where a model
states a dtype and no schemes, its linear layers have that dtype, experts their own where they state one.
Embedding, norms and biases are never quantised, router and head only where a scheme names them: 2 bytes
at least. gpt-oss's published checkpoints split an expert matrix into `_blocks` and `_scales`; its row is
the matrix that these hold, as transformers unpacks and saves it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import get_args

from shardwright.model.dtype import BITS
from shardwright.model.names import NAMES, Names
from shardwright.model.scheme import Scheme
from shardwright.model.spec import GQA, MLA, Experts, LayerShape, Mlp, ModelSpec
from shardwright.model.weight import Part, Weight

KEPT: frozenset[Part] = frozenset({"embedding", "norm", "router", "head"})
"""Parts that a quantised checkpoint keeps in 16 bits (DeepSeek-V3, arXiv 2412.19437, section 3.3.1)."""

CORRECTION_BIAS = "e_score_correction_bias"
"""How the name of a selection bias ends: no parameter, and fp32 in every checkpoint."""

Block = tuple[Weight, ...]


def weights(spec: ModelSpec) -> tuple[Weight, ...]:
    """Every weight of the model: embedding, the layers in order, the last norm, the head.

    Tied embeddings have no row for the head; see `output_head`.
    """
    prefix = _names(spec).prefix
    blocks: dict[tuple[Mlp, int], Block] = {}
    embedding, *last = outer_weights(spec)
    rows = [embedding]
    for layer, shape in enumerate(spec.layer_shapes):
        kind = shape.mlp, shape.stored
        if kind not in blocks:
            blocks[kind] = _block(spec, shape, layer)
        rows += _placed(blocks[kind], prefix, layer)
    return (*rows, *last)


def outer_weights(spec: ModelSpec) -> tuple[Weight, ...]:
    """The weights outside of the layers: embedding, last norm, and the head unless embeddings are tied."""
    name = f"{_names(spec).prefix}model.norm.weight"
    norm = Weight(name=name, shape=(spec.hidden,), part="norm", sharding="replicate")
    rows = (_embedding(spec), _stored(spec, norm, {}))
    return rows if spec.tied_embeddings else (*rows, output_head(spec))


def layer_weights(spec: ModelSpec, layer: int) -> tuple[Weight, ...]:
    """The weights of layer `layer`."""
    return tuple(_placed(_block(spec, spec.layer_shapes[layer], layer), _names(spec).prefix, layer))


def output_head(spec: ModelSpec) -> Weight:
    """The matrix that the last stage multiplies by: lm_head, or the embedding's own values when tied.

    With one stage the tied head is the embedding's memory; a last stage of its own holds a copy.
    """
    row = replace(_embedding(spec), part="head")
    if spec.tied_embeddings:
        return row
    named = _stored(spec, replace(row, name="lm_head.weight"), _schemes(spec, None))
    return replace(named, name=_names(spec).prefix + named.name)


def num_parameters(spec: ModelSpec) -> int:
    """Parameters of the decoder, embedding and head counted (once when tied).

    The selection biases of routers are buffers and not among them.
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


def module_name(row: Weight) -> str:
    """The linear layer that a row's matrix belongs to, its expert without a number."""
    return row.name.removesuffix(".weight").replace(".{expert}", "")


def _names(spec: ModelSpec) -> Names:
    return NAMES.get(spec.family, Names())


def _schemes(spec: ModelSpec, layer: int | None) -> dict[str, Scheme]:
    """The scheme of each quantised linear layer of layer `layer`, or outside of the layers."""
    return {
        module: group.scheme
        for group in spec.quantised
        if group.layers is None or layer in group.layers
        for module in group.modules
    }


def _stored(spec: ModelSpec, row: Weight, schemes: Mapping[str, Scheme]) -> Weight:
    """The row with the bytes that its shape takes on disk and on the GPU; schemes: of its layer."""
    plain = max(spec.weight_bytes, BITS["bf16"] / 8)
    if row.name.endswith(CORRECTION_BIAS) or (row.part == "router" and _names(spec).router_fp32):
        return replace(row, shape_bytes=prod(row.shape) * BITS["fp32"] / 8)
    if len(row.shape) == 1:
        return replace(row, shape_bytes=prod(row.shape) * plain)
    if spec.quantised:
        scheme = schemes.get(module_name(row))
        if scheme is None:
            return replace(row, shape_bytes=prod(row.shape) * BITS["bf16"] / 8)
        num_out, num_in = reversed(row.shape) if row.fused_experts else row.shape
        return replace(row, shape_bytes=float(scheme.num_bytes(num_out, num_in)))
    each = spec.expert_bytes if row.part == "expert" else spec.weight_bytes
    return replace(row, shape_bytes=prod(row.shape) * (plain if row.part in KEPT else each))


def _placed(block: Block, prefix: str, layer: int) -> Iterator[Weight]:
    stem = f"{prefix}model.layers.{layer}."
    return (replace(row, name=stem + row.name, layer=layer) for row in block)


def _embedding(spec: ModelSpec) -> Weight:
    name = f"{_names(spec).prefix}model.embed_tokens.weight"
    row = Weight(name=name, shape=(spec.vocab, spec.hidden), part="embedding", sharding="vocab")
    return _stored(spec, row, {})


def _block(spec: ModelSpec, shape: LayerShape, layer: int) -> Block:
    """The weights of `layer`, named from within it, and so those of every layer of its shape."""
    attention, hidden, names = spec.attention, spec.hidden, _names(spec)
    rows = [*(_gqa(attention, hidden, names) if isinstance(attention, GQA) else _mla(attention, hidden))]
    rows += [_norm(name, hidden) for name in names.norms]
    if shape.mlp == "moe" and spec.experts is not None:
        rows += _moe(spec.experts, hidden, names)
    else:
        rows += _mlp(names.mlp, hidden, spec.dense_width, "dense", joined=names.joined)
        if spec.mlp_bias:
            rows += _mlp_biases(hidden, spec.dense_width)
    schemes = _schemes(spec, layer)
    return tuple(_stored(spec, row, schemes) for row in rows)


def _norm(name: str, width: int) -> Weight:
    return Weight(name=f"{name}.weight", shape=(width,), part="norm", sharding="replicate")


def _attention(name: str, shape: tuple[int, ...], sharding: str, num_units: int = 0) -> Weight:
    return Weight(
        name=f"self_attn.{name}", shape=shape, part="attention", sharding=sharding, num_units=num_units
    )


def _gqa(attention: GQA, hidden: int, names: Names) -> Iterator[Weight]:
    heads, kv_heads, head_dim = attention.num_heads, attention.num_kv_heads, attention.head_dim
    joined = (heads + 2 * kv_heads) * head_dim if names.joined else 0
    start = 0
    for name, sharding, units in (
        ("q_proj", "heads", heads),
        ("k_proj", "kv_heads", kv_heads),
        ("v_proj", "kv_heads", kv_heads),
    ):
        stored = "qkv_proj" if joined else name
        matrix = _attention(f"{stored}.weight", (units * head_dim, hidden), sharding, units)
        yield replace(matrix, part_of=joined, starts_at=start)
        if attention.qkv_bias:
            yield replace(matrix, name=f"self_attn.{stored}.bias", shape=(units * head_dim,))
        start += units * head_dim if joined else 0
    yield _attention("o_proj.weight", (hidden, heads * head_dim), "heads_row", heads)
    if attention.output_bias:
        yield _attention("o_proj.bias", (hidden,), "first_rank")
    if attention.sinks:
        yield _attention("sinks", (heads,), "heads", heads)
    for name, sharding, units in ((names.q_norm, "heads", heads), (names.k_norm, "kv_heads", kv_heads)):
        if attention.qk_norm == "head":
            yield _norm(f"self_attn.{name}", head_dim)
        if attention.qk_norm == "full":
            whole = _norm(f"self_attn.{name}", units * head_dim)
            yield replace(whole, sharding=sharding, num_units=units)


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


def _mlp(stem: str, hidden: int, width: int, part: Part, *, joined: bool = False) -> Iterator[Weight]:
    for half, name in enumerate(("gate_proj", "up_proj")):
        row = Weight(name=f"{stem}.{name}.weight", shape=(width, hidden), part=part, sharding="column")
        one = replace(row, name=f"{stem}.gate_up_proj.weight", part_of=2 * width, starts_at=half * width)
        yield one if joined else row
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
        shape = (1, number) if names.correction_is_row else (number,)
        yield replace(matrix, name=f"{names.moe}.{names.correction}", shape=shape)
    routed = _single_experts if names.experts == "single" else _fused_experts
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
    """One tensor for all experts (GptOssExperts and Llama4TextExperts of transformers 5.23.0)."""
    width = experts.width
    if names.experts == "pairs":
        pairs = _expert("gate_up_proj", (hidden, 2 * width), "expert_pairs")
        yield replace(pairs, num_units=width, fused_experts=True)
    else:
        for start in (0, width):
            half = _expert("gate_up_proj", (hidden, width), "expert_column_in_out")
            yield replace(half, part_of=2 * width, starts_at=start, fused_experts=True)
    yield replace(_expert("down_proj", (width, hidden), "expert_row_in_out"), fused_experts=True)
    if experts.bias:
        pairs_bias = _expert("gate_up_proj_bias", (2 * width,), "expert_pairs_bias")
        yield replace(pairs_bias, num_units=width, fused_experts=True)
        yield replace(_expert("down_proj_bias", (hidden,), "expert_first_rank"), fused_experts=True)
