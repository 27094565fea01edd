"""The rank grid of a layout: which rank stands at which coordinate, and which ranks form a group.

Ours: copy, stage, (dp, tp) attention ranks, then the stage's expert-only ranks; experts (edp, ep, etp).
Shared expert ranks come last in the copy. Engines order a folded layout in other ways:

    vLLM 0.33         copy, dp, pp, tp             vllm/distributed/parallel_state.py
    TensorRT-LLM      experts (edp, etp, ep)       tensorrt_llm/mapping.py
    Megatron-Core     as ours                      megatron/core/parallel_state.py, RankGenerator
    SGLang 0.5.23     as ours                      sglang/srt/distributed/parallel_state.py
"""

from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout

Ranks = NDArray[np.int64]
Role = Literal["attention+experts", "attention", "experts"]

RANK_ORDER = ("copy", "pp", "dp", "tp")
EXPERT_ORDER = ("edp", "ep", "etp")
MAX_GPUS = 10_000_000
"""As far as Count goes."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Ranks by coordinate.

    attention_ranks: [copies, pp, dp, tp].
    expert_ranks: [copies, stages, edp, ep, etp]; stages is pp, 1 when the experts are shared by the
        stages, 0 when the layout has none. When folded they are the attention ranks over again.
    """

    layout: Layout
    attention_ranks: Ranks
    expert_ranks: Ranks

    @property
    def num_ranks(self) -> int:
        """Ranks of all copies."""
        return self.layout.num_gpus


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """Where a rank stands. None on the axes that it is not on; stage is None for shared expert ranks."""

    copy: int
    stage: int | None = None
    dp: int | None = None
    tp: int | None = None
    edp: int | None = None
    ep: int | None = None
    etp: int | None = None


def build_grid(
    layout: Layout,
    rank_order: tuple[str, ...] = RANK_ORDER,
    expert_order: tuple[str, ...] = EXPERT_ORDER,
) -> Grid:
    """The grid of `layout`; both orders name axes from slowest to fastest.

    rank_order is for folded layouts, the only ones that an engine's own world holds.
    Raises InputError for more than 10,000,000 GPUs.
    """
    if layout.num_gpus > MAX_GPUS:
        raise InputError("layout", format_layout(layout), f"at most {MAX_GPUS:,} GPUs")
    assert layout.home == "folded" or rank_order == RANK_ORDER
    sizes = {"copy": layout.copies, "pp": layout.pp, "dp": layout.dp, "tp": layout.tp}
    copies, pp, dp, tp = sizes.values()
    if layout.home == "folded":
        attention = _ordered(np.arange(layout.num_gpus), sizes, rank_order, RANK_ORDER)
        has_experts = layout.expert_ranks == layout.attention_ranks
        own = attention.reshape(copies, pp, -1) if has_experts else np.empty((copies, 0, 1), np.int64)
    else:
        # A block is a stage with its experts, or a whole copy with the experts that its stages share.
        blocks = pp if layout.home == "per_stage" else 1
        rows = np.arange(layout.num_gpus).reshape(copies, blocks, -1)
        stages, own = rows[..., : -layout.expert_ranks], rows[..., -layout.expert_ranks :]
        attention = stages.reshape(copies, pp, dp, tp)
    degrees = {"edp": layout.edp, "ep": layout.ep, "etp": layout.etp}
    return Grid(
        layout=layout,
        attention_ranks=attention,
        expert_ranks=_ordered(own, degrees, expert_order, EXPERT_ORDER),
    )


def groups(grid: Grid, axis: str) -> Ranks:
    """The groups of an axis, [num_groups, size]; each row in the order of the axis.

    tp, dp, pp: attention ranks that differ in that coordinate only; so ep, etp, edp for expert ranks.
    exchange: the ranks among which tokens are dispatched and combined in one layer. Folded: the ep
        groups, one lane for each etp rank (where the lanes of an expert do not hold the same tokens,
        these are gathered over etp before). Disaggregated: the attention ranks of one stage, then its
        expert ranks; shared expert ranks stand in the group of every stage.
    copy: all ranks of one copy.

    Every axis but a shared exchange partitions the ranks that have it.
    """
    attention, experts = grid.attention_ranks, grid.expert_ranks
    copies, pp = attention.shape[:2]
    if axis == "copy":
        held = [attention.reshape(copies, -1)]
        if grid.layout.home != "folded":
            held.append(experts.reshape(copies, -1))
        return np.sort(np.concatenate(held, axis=1), axis=1)
    if axis == "exchange":
        if grid.layout.home == "folded":
            return groups(grid, "ep")
        served = np.broadcast_to(experts, (copies, pp, *experts.shape[2:]))
        both = [attention.reshape(copies * pp, -1), served.reshape(copies * pp, -1)]
        return np.concatenate(both, axis=1)
    ranks, axes = (attention, RANK_ORDER) if axis in RANK_ORDER else (experts, ("copy", "pp", *EXPERT_ORDER))
    last = np.moveaxis(ranks, axes.index(axis), -1)
    return last.reshape(-1, last.shape[-1])


def role(grid: Grid, rank: int) -> Role:
    """What a rank does; with a dense layout every rank is 'attention'."""
    if grid.layout.home == "folded":
        return "attention+experts" if grid.expert_ranks.size else "attention"
    return "attention" if coordinates(grid, rank).tp is not None else "experts"


def coordinates(grid: Grid, rank: int) -> Coordinates:
    """Where `rank` stands, 0 <= rank < num_ranks."""
    assert 0 <= rank < grid.num_ranks
    found: dict[str, Any] = {}
    experts = _where(grid.expert_ranks, rank)
    if experts is not None:
        found = dict(zip(("copy", "stage", *EXPERT_ORDER), experts, strict=True))
        if grid.layout.home == "shared":
            del found["stage"]
    attention = _where(grid.attention_ranks, rank)
    if attention is not None:
        found |= dict(zip(("copy", "stage", "dp", "tp"), attention, strict=True))
    return Coordinates(**found)


def _ordered(ranks: Ranks, sizes: dict[str, int], order: tuple[str, ...], wanted: tuple[str, ...]) -> Ranks:
    """The last axis of `ranks` as axes in `order` (slowest first), then turned to the `wanted` order."""
    outer = ranks.shape[:-1]
    split = ranks.reshape(*outer, *(sizes[axis] for axis in order))
    turned = [len(outer) + order.index(axis) for axis in wanted]
    assert prod(split.shape) == ranks.size
    return split.transpose(*range(len(outer)), *turned)


def _where(ranks: Ranks, rank: int) -> tuple[int, ...] | None:
    """The one place of `rank`, or None."""
    places = np.argwhere(ranks == rank)
    return tuple(map(int, places[0])) if len(places) else None
