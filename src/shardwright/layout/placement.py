"""Placement: which expert each physical slot of one layer holds, and which rank owns the slot.

Expert parallelism, redundant experts and dedicated expert GPUs are all this one table.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shardwright.record import Size


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The slots of one layer over one ep axis; slot s holds experts[s] on rank ranks[s] of ep.

    A rank may own no slots. Every expert stands in at least one slot.
    """

    num_experts: int
    ep: int
    experts: tuple[int, ...]
    ranks: tuple[int, ...]

    def __post_init__(self) -> None:
        assert len(self.experts) == len(self.ranks)
        assert set(self.experts) == set(range(self.num_experts))
        assert all(0 <= rank < self.ep for rank in self.ranks)

    def slots_of(self, rank: int) -> tuple[int, ...]:
        """The slots that rank `rank` of the ep axis owns, in order."""
        return self._by_rank[rank]

    def replicas(self, expert: int) -> tuple[int, ...]:
        """The slots that hold `expert`, in order."""
        return self._by_expert[expert]

    @cached_property
    def _by_rank(self) -> tuple[tuple[int, ...], ...]:
        return _members(self.ranks, self.ep)

    @cached_property
    def _by_expert(self) -> tuple[tuple[int, ...], ...]:
        return _members(self.experts, self.num_experts)


def linear_placement(num_experts: int, ep: int, redundant: int = 0) -> Placement:
    """Experts in order, contiguous on the ranks; redundant slots follow and repeat the experts from 0 on.

    Where slots do not divide, the first ranks own one more. Source: vLLM 0.33,
    fused_moe/expert_map_manager.py (placement) and eplb/eplb_state.py (redundant slots).

    >>> linear_placement(5, 2).ranks
    (0, 0, 0, 1, 1)
    """
    num_slots = num_experts + redundant
    each, left = divmod(num_slots, ep)
    owned = [each + (rank < left) for rank in range(ep)]
    return Placement(
        num_experts=num_experts,
        ep=ep,
        experts=tuple(slot % num_experts for slot in range(num_slots)),
        ranks=tuple(rank for rank, count in enumerate(owned) for _ in range(count)),
    )


def max_slots(num_experts: Size, redundant: Size, ep: Size) -> Size:
    """Slots on the rank that owns most under the linear placement; numbers or arrays over layouts."""
    return -(-(np.asarray(num_experts) + redundant) // ep)


def _members(owner_of: tuple[int, ...], num_owners: int) -> tuple[tuple[int, ...], ...]:
    members: list[list[int]] = [[] for _ in range(num_owners)]
    for slot, owner in enumerate(owner_of):
        members[owner].append(slot)
    return tuple(map(tuple, members))
