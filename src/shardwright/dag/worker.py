"""Ranks that do the same work at the same time: one of them stands for all.

With expected routing, all ranks of one role in one stage do equal work, in every copy: a layout has as
many workers as it has stages and roles, however many GPUs it has.
"""

from dataclasses import dataclass

import numpy as np

from shardwright.layout.grid import Grid, Role
from shardwright.layout.layout import Layout

Rank = int


@dataclass(frozen=True, kw_only=True)
class Worker:
    """number: its place among the workers. stage: None for experts that all stages share.

    ranks: those of every copy, in order.
    """

    number: int
    role: Role
    stage: int | None
    ranks: tuple[Rank, ...]

    @property
    def name(self) -> str:
        """'stage 1 attention', 'experts'."""
        return self.role if self.stage is None else f"stage {self.stage} {self.role}"


def group_sizes(layout: Layout, near_ranks: int = 1) -> dict[str, int]:
    """Ranks in a group of each axis that a program communicates over. near_ranks: of a sum in two levels."""
    folded, experts = layout.home == "folded", layout.ep * layout.etp * layout.edp
    near = min(near_ranks, layout.tp)
    return {
        "tp": layout.tp,
        "tp_near": near,
        "tp_far": layout.tp // near,
        "dp": layout.dp,
        "pp": layout.pp,
        "ep": layout.ep,
        # An ETP group wider than a TP group: the dp ranks whose tokens are gathered for it.
        "etp": max(1, layout.etp // layout.tp),
        "exchange": layout.ep if folded else layout.tp * layout.dp + experts,
    }


def workers(grid: Grid) -> tuple[Worker, ...]:
    """The workers of a layout: of each stage the ranks with attention, then its expert-only ranks."""
    own = grid.expert_ranks if grid.layout.home != "folded" else grid.expert_ranks[:, :0]
    role: Role = "attention"
    if grid.layout.home == "folded" and grid.expert_ranks.size:
        role = "attention+experts"
    found: list[tuple[Role, int | None, np.ndarray]] = []
    for stage in range(grid.layout.pp):
        found.append((role, stage, grid.attention_ranks[:, stage]))
        if grid.layout.home == "per_stage":
            found.append(("experts", stage, own[:, stage]))
    if grid.layout.home == "shared":
        found.append(("experts", None, own))
    return tuple(
        Worker(number=number, role=role, stage=stage, ranks=tuple(sorted(map(int, ranks.flatten()))))
        for number, (role, stage, ranks) in enumerate(found)
    )
