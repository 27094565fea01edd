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
    unit: what a slice must hold whole: an element, a query head or a KV head. KV heads are
        replicated when there are fewer of them than ranks.
    per_slot: one such tensor for every physical expert slot of the rank.
    first_rank: the value lives on rank 0 of the axis, zeros elsewhere, because outputs are summed.
    """

    axis: Literal["tp", "etp"] | None
    dim: int | None
    unit: Literal["element", "head", "kv_head"] = "element"
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
}
"""Rules after Megatron-LM (arXiv 1909.08053) and vLLM's parallel linear layers."""


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A tensor as the checkpoint names it, torch order [out, in].

    An expert's row stands for all experts of its layer: `{expert}` in the name, num_experts > 0.
    num_units: heads (or KV heads) along the sliced dim; 0 for element-wise rules.
    """

    name: str
    shape: tuple[int, ...]
    part: Part
    sharding: str
    layer: int | None = None
    num_experts: int = 0
    num_units: int = 0
    bytes_per_element: float = 2.0

    @property
    def num_elements(self) -> int:
        """Elements of the whole model's copy, all experts counted."""
        return prod(self.shape) * max(1, self.num_experts)

    @property
    def num_bytes(self) -> float:
        """Bytes of the whole model's copy, all experts counted."""
        return self.num_elements * self.bytes_per_element
