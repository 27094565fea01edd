"""What is deployed: the facts of a model that decide its bytes and its work."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from pydantic import Field, model_validator

from shardwright.model.dtype import BITS, Dtype
from shardwright.model.scheme import Quantised
from shardwright.record import Count, CountOrZero, Record

LARGEST_POSITIONS = 100_000_000
"""Ten times the context of Llama 4 Scout, 10,485,760 tokens."""


class GQA(Record):
    """Multi-head, grouped-query or multi-query attention.

    qk_norm: 'head' normalises each head of q and k (Qwen3), 'full' the whole projection (OLMoE).
    """

    kind: Literal["gqa"] = "gqa"
    num_heads: Count
    num_kv_heads: Count
    head_dim: Count
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: Literal["none", "head", "full"] = "none"
    sinks: bool = False
    """One learned logit a query head in every softmax, which takes weight from the tokens (gpt-oss)."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "GQA":
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}"
            )
        return self


class MLA(Record):
    """Multi-head latent attention (DeepSeek V2, V3): one latent KV row a token, shared by all heads."""

    kind: Literal["mla"] = "mla"
    num_heads: Count
    q_lora_rank: Count | None = None
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count
    bias: bool = False


class Experts(Record):
    """The expert block of a mixture-of-experts layer. `width` is one expert's intermediate size."""

    num_experts: Count
    top_k: Count
    width: Count
    shared_width: CountOrZero = 0
    """Intermediate size of all shared experts together; 0 without any."""
    shared_gate: bool = False
    """A sigmoid gate on the shared expert's output (Qwen2-MoE)."""
    correction_bias: bool = False
    """A per-expert bias used for selection only (DeepSeek-V3's e_score_correction_bias)."""
    router_bias: bool = False
    """A bias in the router's own linear layer (gpt-oss)."""
    bias: bool = False
    """Biases in the linear layers of every expert (gpt-oss)."""
    weight_dtype: Dtype | None = None
    """How the experts' matrices are stored, where not like the other linear layers."""
    groups: Count = 1
    """Equal groups of experts in order; a token's experts are all in `top_groups` of them (DeepSeek-V3: 4 of
    8)."""
    top_groups: Count = 1

    @model_validator(mode="after")
    def _top_k_fits(self) -> "Experts":
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k {self.top_k} exceeds num_experts {self.num_experts}")
        if self.num_experts % self.groups:
            raise ValueError(f"num_experts {self.num_experts} is not a multiple of groups {self.groups}")
        if self.top_groups > self.groups:
            raise ValueError(f"top_groups {self.top_groups} exceeds groups {self.groups}")
        if self.top_k > (most := self.num_experts // self.groups * self.top_groups):
            raise ValueError(f"top_k {self.top_k} exceeds the {most} experts of {self.top_groups} groups")
        return self


Mlp = Literal["dense", "moe"]


@dataclass(frozen=True)
class LayerShape:
    """What tells one layer from another: its MLP, how many tokens its attention sees (None: all), and how
    its weights are stored: in layers of one `stored`, alike."""

    mlp: Mlp
    window: int | None = None
    stored: int = 0


@cache
def _layer_shapes(
    num_layers: int,
    moe: bool,
    dense: tuple[int, ...],
    window: int | None,
    windowed: tuple[int, ...],
    groups: tuple[tuple[int, ...], ...],
) -> tuple[LayerShape, ...]:
    """groups: the layers of each scheme that holds in some layers only."""
    without_experts, with_window = frozenset(dense), frozenset(windowed)
    members = [frozenset(group) for group in groups]
    return tuple(
        LayerShape(
            mlp="moe" if moe and layer not in without_experts else "dense",
            window=window if layer in with_window else None,
            stored=sum(1 << place for place, group in enumerate(members) if layer in group),
        )
        for layer in range(num_layers)
    )


class ModelSpec(Record):
    """One decoder-only transformer. Sizes in elements; dtypes say how they are stored."""

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^-]")
    """As an engine's command takes it: a hub id or a path; never an option."""
    family: str = "llama"
    """Whose tensor names and rules hold: a model_type of transformers, or 'generic'."""
    num_layers: int = Field(strict=True, ge=1, le=2000)
    hidden: Count
    vocab: Count
    attention: GQA | MLA = Field(discriminator="kind")
    dense_width: CountOrZero = 0
    """Intermediate size of the dense layers; 0 when every layer has experts."""
    experts: Experts | None = None
    dense_layers: tuple[int, ...] = ()
    """Indices of layers with a dense MLP in a model with experts (leading dense layers and others)."""
    window: Count | None = None
    """Tokens that a windowed layer sees, the query's own included; of attention in chunks, a chunk: the most
    that a query sees, and the most KV that a sequence keeps."""
    windowed_layers: tuple[int, ...] = ()
    """Indices of layers whose attention sees only the window."""
    tied_embeddings: bool = False
    mlp_bias: bool = False
    weight_dtype: Dtype = "bf16"
    """Of the linear layers; where `quantised` is stated, of most of them outside of the experts."""
    quantised: tuple[Quantised, ...] = ()
    """How each quantised linear layer is stored; all that is named in none of them is in 16 bits. Without
    any, every linear layer has weight_dtype, or the experts' own, and scales are not counted."""
    kv_dtype: Dtype = "bf16"
    max_positions: int = Field(default=32768, strict=True, ge=1, le=LARGEST_POSITIONS)
    left_out: tuple[str, ...] = ()
    """Parts of the checkpoint that are not the plain decoder: named here, counted nowhere."""
    source: str = ""
    """Where the facts come from: a URL, a file, or 'stated in the deployment'."""

    @model_validator(mode="after")
    def _layers_have_width(self) -> "ModelSpec":
        quantised = tuple(layer for group in self.quantised for layer in group.layers or ())
        for field, layers in (
            ("dense_layers", self.dense_layers),
            ("windowed_layers", self.windowed_layers),
            ("quantised", quantised),
        ):
            if any(not 0 <= layer < self.num_layers for layer in layers):
                raise ValueError(f"{field} {list(layers)} go beyond num_layers {self.num_layers}")
        if not self.dense_width and any(shape.mlp == "dense" for shape in self.layer_shapes):
            raise ValueError("dense_width is needed: the model has dense layers")
        if self.experts is not None and all(shape.mlp == "dense" for shape in self.layer_shapes):
            raise ValueError("experts are stated, but dense_layers leaves no layer for them")
        if bool(self.window) != bool(self.windowed_layers):
            raise ValueError("window and windowed_layers are stated together or not at all")
        return self

    @property
    def layer_shapes(self) -> tuple[LayerShape, ...]:
        """The shape of every layer, in order."""
        return _layer_shapes(
            self.num_layers,
            self.experts is not None,
            self.dense_layers,
            self.window,
            self.windowed_layers,
            tuple(group.layers for group in self.quantised if group.layers is not None),
        )

    @property
    def weight_bytes(self) -> float:
        """Bytes of one stored weight value, its part of the scales included where they are known."""
        return self._value_bytes(self.weight_dtype)

    @property
    def activation_bytes(self) -> float:
        """Bytes of one value of the activations: 16 bits, 32 beside fp32 weights."""
        return 4.0 if self.weight_dtype == "fp32" else 2.0

    @property
    def expert_dtype(self) -> Dtype:
        """How the matrices of the routed experts are stored."""
        return (self.experts and self.experts.weight_dtype) or self.weight_dtype

    @property
    def expert_bytes(self) -> float:
        """Bytes of one stored value of a routed expert's matrix, as weight_bytes has it."""
        return self._value_bytes(self.expert_dtype)

    def _value_bytes(self, dtype: Dtype) -> float:
        schemes = (group.scheme for group in self.quantised if group.scheme.dtype == dtype)
        return next((scheme.mean_bytes for scheme in schemes), BITS[dtype] / 8)

    def in_blocks(self, dtype: Dtype) -> bool:
        """Whether matrices of this dtype have a scale a block of rows and columns (DeepSeek-V3's fp8)."""
        return any(group.scheme.dtype == dtype and min(group.scheme.block) > 1 for group in self.quantised)

    @property
    def stored_in(self) -> str:
        """The dtype of the weights, and of the experts where they have their own."""
        own = f", experts in {self.expert_dtype}" if self.expert_dtype != self.weight_dtype else ""
        return self.weight_dtype + own

    @property
    def kv_bytes(self) -> float:
        """Bytes of one stored KV value."""
        return BITS[self.kv_dtype] / 8
