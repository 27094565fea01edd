"""Rank grids, against the formulas that the engines' sources state, written anew here."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.errors import InputError
from shardwright.layout.grid import RANK_ORDER, Coordinates, build_grid, coordinates, groups, role
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from tests.layout.layout_strategies import layouts

VLLM = ("copy", "dp", "pp", "tp")
TENSORRT_EXPERTS = ("edp", "etp", "ep")
ATTENTION_AXES, EXPERT_AXES = ("tp", "dp", "pp"), ("ep", "etp", "edp")

folded = layouts().filter(lambda layout: layout.home == "folded")


def rows(layout: str | Layout, axis: str, **orders: tuple[str, ...]) -> list[list[int]]:
    layout = parse_layout(layout) if isinstance(layout, str) else layout
    return groups(build_grid(layout, **orders), axis).tolist()


def test_vllm_expert_groups_are_not_contiguous() -> None:
    assert rows("tp2.dp2.pp2/ep4", "ep", rank_order=VLLM) == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert rows("tp2.dp2.pp2/ep4", "pp", rank_order=VLLM) == [[0, 2], [1, 3], [4, 6], [5, 7]]
    assert rows("tp2.dp2.pp2/ep4", "ep") == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_ours_disaggregated() -> None:
    grid = build_grid(parse_layout("tp2.pp2+ep2.x2"))
    assert grid.attention_ranks.reshape(4, 2).tolist() == [[0, 1], [4, 5], [8, 9], [12, 13]]
    assert grid.expert_ranks.reshape(4, 2).tolist() == [[2, 3], [6, 7], [10, 11], [14, 15]]
    assert groups(grid, "exchange").tolist() == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
        [12, 13, 14, 15],
    ]


def test_the_reference_map_has_attention_first_and_shared_experts_last() -> None:
    grid = build_grid(parse_layout("tp2.pp2+ep4.shared"))
    assert groups(grid, "tp").tolist() == [[0, 1], [2, 3]]
    assert groups(grid, "ep").tolist() == [[4, 5, 6, 7]]
    assert groups(grid, "exchange").tolist() == [[0, 1, 4, 5, 6, 7], [2, 3, 4, 5, 6, 7]]
    assert [role(grid, rank) for rank in range(8)] == ["attention"] * 4 + ["experts"] * 4
    assert coordinates(grid, 3) == Coordinates(copy=0, stage=1, dp=0, tp=1)
    assert coordinates(grid, 6) == Coordinates(copy=0, stage=None, edp=0, ep=2, etp=0)


def test_folded_roles_and_coordinates() -> None:
    grid = build_grid(parse_layout("tp2.dp2.pp2/ep2.etp2"))
    assert role(grid, 7) == "attention+experts"
    assert coordinates(grid, 6) == Coordinates(copy=0, stage=1, dp=1, tp=0, edp=0, ep=1, etp=0)
    dense = build_grid(parse_layout("tp2.pp2"))
    assert role(dense, 3) == "attention"
    assert coordinates(dense, 3) == Coordinates(copy=0, stage=1, dp=0, tp=1)
    assert all(groups(dense, axis).size == 0 for axis in (*EXPERT_AXES, "exchange"))


@given(folded)
def test_vllm_formula(layout: Layout) -> None:
    """initialize_model_parallel: reshape to (ExternalDP, DP, PP, TP), then one view a group."""
    world = np.arange(layout.num_gpus).reshape(layout.copies, layout.dp, layout.pp, layout.tp)
    grid = build_grid(layout, rank_order=VLLM)

    def as_sets(array: np.ndarray) -> set[tuple[int, ...]]:
        return {tuple(row) for row in array.tolist()}

    assert as_sets(groups(grid, "tp")) == as_sets(world.reshape(-1, layout.tp))
    assert as_sets(groups(grid, "pp")) == as_sets(world.transpose(0, 1, 3, 2).reshape(-1, layout.pp))
    assert as_sets(groups(grid, "dp")) == as_sets(world.transpose(0, 2, 3, 1).reshape(-1, layout.dp))
    if layout.ep == layout.attention_ranks > 1:
        assert as_sets(groups(grid, "ep")) == as_sets(world.transpose(0, 2, 1, 3).reshape(-1, layout.ep))


def megatron_groups(sizes: dict[str, int], token: str) -> list[list[int]]:
    """RankGenerator with sizes from fastest to slowest: ranks that differ in `token` only."""
    strides, stride = {}, 1
    for name, size in sizes.items():
        strides[name] = stride
        stride *= size
    others = [name for name in reversed(sizes) if name != token]
    return [
        [
            sum(at * strides[name] for at, name in zip(where, others, strict=True)) + k * strides[token]
            for k in range(sizes[token])
        ]
        for where in product(*(range(sizes[name]) for name in others))
    ]


@settings(max_examples=50)
@given(folded.filter(lambda layout: layout.expert_ranks == layout.attention_ranks and layout.copies == 1))
def test_megatron_formula(layout: Layout) -> None:
    attention = {"tp": layout.tp, "dp": layout.dp, "pp": layout.pp}
    experts = {"etp": layout.etp, "ep": layout.ep, "edp": layout.edp, "pp": layout.pp}
    for sizes in (attention, experts):
        for axis in sizes:
            expected = megatron_groups(sizes, axis)
            assert sorted(rows(layout, axis)) == sorted(expected)


@given(st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]))
def test_tensorrt_formula(pp: int, etp: int, ep: int) -> None:
    """Mapping.__init__: moe_tp groups stride by moe_ep, moe_ep groups are contiguous."""
    tp = etp * ep
    layout = Layout(tp=tp, pp=pp, ep=ep, etp=etp)
    found = {axis: rows(layout, axis, expert_order=TENSORRT_EXPERTS) for axis in ("etp", "ep")}
    assert sorted(found["etp"]) == [
        list(range(i * tp + j, (i + 1) * tp, ep)) for i in range(pp) for j in range(ep)
    ]
    assert sorted(found["ep"]) == [
        list(range(i * tp + j * ep, i * tp + (j + 1) * ep)) for i in range(pp) for j in range(etp)
    ]


@given(
    layouts(),
    st.permutations(RANK_ORDER),
    st.permutations(["edp", "ep", "etp"]),
)
def test_groups_partition_the_ranks_that_have_the_axis(
    layout: Layout, rank_order: list[str], expert_order: list[str]
) -> None:
    order = tuple(rank_order) if layout.home == "folded" else RANK_ORDER
    grid = build_grid(layout, rank_order=order, expert_order=tuple(expert_order))
    attention, experts = set(grid.attention_ranks.ravel()), set(grid.expert_ranks.ravel())
    assert attention | experts == set(range(layout.num_gpus))
    if layout.home != "folded":
        assert not attention & experts
    for axis, members in [
        *((axis, attention) for axis in ATTENTION_AXES),
        *((axis, experts) for axis in EXPERT_AXES),
        ("copy", attention | experts),
    ]:
        ranks = groups(grid, axis)
        assert sorted(ranks.ravel().tolist()) == sorted(members)
        assert ranks.shape[1] == (layout.gpus_per_copy if axis == "copy" else getattr(layout, axis))


@given(layouts())
def test_exchange_joins_the_tokens_of_a_stage_with_its_experts(layout: Layout) -> None:
    grid = build_grid(layout)
    exchange = groups(grid, "exchange").tolist()
    if layout.home == "folded":
        assert exchange == groups(grid, "ep").tolist()
        return
    assert len(exchange) == layout.copies * layout.pp
    for members in exchange:
        assert len(members) == layout.attention_ranks + layout.expert_ranks
        places = [coordinates(grid, rank) for rank in members]
        assert len({place.copy for place in places}) == 1
        assert len({place.stage for place in places if place.tp is not None}) == 1
        if layout.home == "per_stage":
            assert len({place.stage for place in places}) == 1


@given(layouts())
def test_our_order_by_arithmetic(layout: Layout) -> None:
    """Copy, stage, (dp, tp), then the stage's experts; shared experts last in the copy."""
    grid = build_grid(layout)
    per_stage = layout.attention_ranks + (layout.expert_ranks if layout.home == "per_stage" else 0)
    for rank in range(layout.num_gpus):
        copy, within = divmod(rank, layout.gpus_per_copy)
        place = coordinates(grid, rank)
        assert place.copy == copy
        stage, local = divmod(within, per_stage)
        if stage >= layout.pp:
            stage, local, expert = None, None, within - layout.pp * per_stage
        elif local >= layout.attention_ranks:
            local, expert = None, local - layout.attention_ranks
        else:
            expert = local if layout.home == "folded" and grid.expert_ranks.size else None
        assert place.stage == stage
        assert (place.dp, place.tp) == ((None, None) if local is None else divmod(local, layout.tp))
        if expert is None:
            assert place.ep is None
        else:
            assert place.edp is not None and place.ep is not None and place.etp is not None
            assert (place.edp * layout.ep + place.ep) * layout.etp + place.etp == expert
        has_attention, has_experts = place.tp is not None, place.ep is not None
        assert role(grid, rank) == "+".join(["attention"] * has_attention + ["experts"] * has_experts)


def test_a_grid_too_large_is_refused_before_it_is_built() -> None:
    with pytest.raises(InputError, match="10,000,000 GPUs"):
        build_grid(parse_layout("tp10000000.pp10000000"))
