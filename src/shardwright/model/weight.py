"""One weight of a model as a row: its name, its shape, and the rule by which ranks share it."""

from dataclasses import dataclass
from math import prod
from typing import Literal

Part = Literal["embedding", "norm", "attention", "dense", "router", "shared", "expert", "head"]
"""What a weight belongs to; memory is reported by part."""


@dataclass(frozen=True, kw_only=True)
class Sharding:
    """How ranks share a weight. A row of SHARDINGS; one interpreter reads it (layout/shards.py).

    axis: the axis whose ranks slice the weight, or None when each rank holds it whole.
    dim: the tensor dimension that is sliced.
    unit: what a slice must hold whole: an element, a query head, a KV head, or a pair of one gate and
        one up value that lie side by side. KV heads are replicated when there are fewer than ranks.
    per_slot: one such tensor for every physical expert slot of the rank.
    first_rank: the value lives on rank 0 of the axis, zeros elsewhere, because outputs are summed.
    """

    axis: Literal["tp", "etp"] | None
    dim: int | None
    unit: Literal["element", "head", "kv_head", "pair"] = "element"
    per_slot: bool = False
    first_rank: bool = False


SHARDINGS: dict[str, Sharding] = {
    "replicate": Sharding(axis=None, dim=None),
    "vocab": Sharding(axis="tp", dim=0),
    "column": Sharding(axis="tp", dim=0),
    "row": Sharding(axis="tp", dim=1),
    "heads": Sharding(axis="tp", dim=0, unit="head"),
    "heads_row": Sharding(axis="tp", dim=1, unit="head"),
    "kv_heads": Sharding(axis="tp", dim=0, unit="kv_head"),
    "first_rank": Sharding(axis="tp", dim=None, first_rank=True),
    "expert_column": Sharding(axis="etp", dim=0, per_slot=True),
    "expert_row": Sharding(axis="etp", dim=1, per_slot=True),
    "expert_first_rank": Sharding(axis="etp", dim=None, per_slot=True, first_rank=True),
    "expert_pairs": Sharding(axis="etp", dim=1, unit="pair", per_slot=True),
    "expert_pairs_bias": Sharding(axis="etp", dim=0, unit="pair", per_slot=True),
    "expert_column_in_out": Sharding(axis="etp", dim=1, per_slot=True),
    "expert_row_in_out": Sharding(axis="etp", dim=0, per_slot=True),
}
"""Rules after Megatron-LM (arXiv 1909.08053) and vLLM's parallel linear layers.

Pairs are gpt-oss's: gate and up interleaved in one matrix of order [in, out], so that a contiguous slice
holds both (GptOssExperts of transformers 5.23.0 takes gate_up[..., ::2] and gate_up[..., 1::2]). The
fused experts of Llama 4 are [in, out] too, gate before up: two rows, each a column_in_out.
"""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A tensor as the checkpoint names it, torch order [out, in] but for fused experts, [in, out].

    An expert's row stands for all experts of its layer, num_experts > 0: `shape` and the rule's dim are
    those of one expert. Either each is a tensor of its own, `{expert}` in the name, or, fused_experts, they
    are one tensor whose dim 0 runs over them.
    num_units: heads, KV heads or pairs along the sliced dim; 0 for element-wise rules.
    part_of: where several weights are one tensor of the checkpoint (q, k and v in Phi-3's qkv_proj), the
    size of that tensor along the sliced dim, in which this one starts at `starts_at`; 0: its own tensor.
    shape_bytes: bytes of `shape` as it is stored, its scales among them.
    """

    name: str
    shape: tuple[int, ...]
    part: Part
    sharding: str
    layer: int | None = None
    num_experts: int = 0
    fused_experts: bool = False
    num_units: int = 0
    part_of: int = 0
    starts_at: int = 0
    shape_bytes: float = 0.0

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of a tensor of that name in the checkpoint."""
        dim, own = SHARDINGS[self.sharding].dim, list(self.shape)
        if self.part_of and dim is not None:
            own[dim] = self.part_of
        return (self.num_experts, *own) if self.fused_experts else tuple(own)

    @property
    def num_elements(self) -> int:
        """Elements of the whole model's copy, all experts counted."""
        return prod(self.shape) * max(1, self.num_experts)

    @property
    def bytes_per_element(self) -> float:
        """The mean over the shape: scales are shared out with the elements."""
        return self.shape_bytes / prod(self.shape)

    @property
    def num_bytes(self) -> float:
        """Bytes of the whole model's copy, all experts counted."""
        return self.shape_bytes * max(1, self.num_experts)
