"""What is deployed: the facts of a model that decide its bytes and its work."""

from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from shardwright.record import Count, CountOrZero, Record

Dtype = Literal["fp32", "bf16", "fp16", "fp8", "int8", "int4", "fp4"]

BITS: dict[str, int] = {"fp32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8, "int4": 4, "fp4": 4}
"""Bits of one stored value, scales of block formats not counted."""


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

    @model_validator(mode="after")
    def _top_k_fits(self) -> "Experts":
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k {self.top_k} exceeds num_experts {self.num_experts}")
        return self


LayerKind = Literal["dense", "moe"]


class ModelSpec(Record):
    """One decoder-only transformer. Sizes in elements; dtypes say how they are stored."""

    name: str = Field(min_length=1, max_length=200)
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
    tied_embeddings: bool = False
    mlp_bias: bool = False
    weight_dtype: Dtype = "bf16"
    kv_dtype: Dtype = "bf16"
    max_positions: Count = 32768
    left_out: tuple[str, ...] = ()
    """Parts of the checkpoint that are not the plain decoder: named here, counted nowhere."""
    source: str = ""
    """Where the facts come from: a URL, a file, or 'stated in the deployment'."""

    @model_validator(mode="after")
    def _layers_have_width(self) -> "ModelSpec":
        if any(not 0 <= layer < self.num_layers for layer in self.dense_layers):
            raise ValueError(f"dense_layers {list(self.dense_layers)} go beyond num_layers {self.num_layers}")
        if not self.dense_width and any(self.layer_kind(i) == "dense" for i in range(self.num_layers)):
            raise ValueError("dense_width is needed: the model has dense layers")
        return self

    def layer_kind(self, layer: int) -> LayerKind:
        """'moe' where layer `layer` holds experts."""
        return "moe" if self.experts is not None and layer not in self.dense_layers else "dense"

    @cached_property
    def layer_kinds(self) -> tuple[LayerKind, ...]:
        """The kind of every layer, in order."""
        return tuple(self.layer_kind(layer) for layer in range(self.num_layers))

    @property
    def weight_bytes(self) -> float:
        """Bytes of one stored weight value."""
        return BITS[self.weight_dtype] / 8

    @property
    def kv_bytes(self) -> float:
        """Bytes of one stored KV value."""
        return BITS[self.kv_dtype] / 8
