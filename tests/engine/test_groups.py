"""Every group of every legal layout, against the engine's own formula; and orders of axes that are wrong."""

from itertools import permutations

import pytest

from shardwright.engine.catalog import VERSIONS
from shardwright.engine.engine import Engine, engine_grid
from shardwright.layout.grid import EXPERT_ORDER, RANK_ORDER, build_grid, groups
from shardwright.layout.layout import ExpertHome, Layout
from tests.engine.formulas import AXES, FORMULAS, Groups
from tests.engine.legal_layouts import legal_layouts

MOST_GPUS = (pytest.param(32, id="32"), pytest.param(64, id="64", marks=pytest.mark.slow))
FEW_GPUS = 16
BY_ID = {engine.id: engine for engine in VERSIONS}


def legal(engine: Engine, home: ExpertHome, most: int) -> list[Layout]:
    """The legal layouts; of DeepSpeed those with EP = DP.

    With a smaller EP its groups are not those of any one order of axes (engine/gshard.py says so).
    """
    found = legal_layouts(engine, home, most)
    return [layout for layout in found if layout.ep == layout.dp] if engine.name == "gshard" else found


def made(
    layout: Layout, engine: Engine, rank_order: tuple[str, ...], expert_order: tuple[str, ...]
) -> Groups:
    folded = layout.home == "folded"
    grid = build_grid(layout, rank_order, expert_order) if folded else engine_grid(engine, layout)
    return {axis: sorted(groups(grid, axis).tolist()) for axis in AXES}


def documented(layout: Layout, engine: Engine) -> Groups:
    return {axis: sorted(ranks) for axis, ranks in FORMULAS[engine.name](layout).items()}


@pytest.mark.parametrize("most_gpus", MOST_GPUS)
@pytest.mark.parametrize("engine", VERSIONS, ids=lambda engine: engine.id)
def test_every_group_of_every_legal_layout(engine: Engine, most_gpus: int) -> None:
    for home in engine.homes:
        found = legal(engine, home, most_gpus if home == "folded" else FEW_GPUS)
        assert len(found) > 500
        for layout in found:
            assert made(layout, engine, engine.rank_order, engine.expert_order) == documented(layout, engine)


@pytest.mark.parametrize(
    ("name", "rank_orders", "expert_orders"),
    [
        pytest.param("vllm", 1, 6, id="vllm: at most one expert axis is above 1"),
        pytest.param("vllm@0.32", 1, 6, id="vllm@0.32: as vllm"),
        pytest.param("sglang", 1, 3, id="sglang: EDP is 1"),
        pytest.param("trtllm", 2, 3, id="trtllm: TP or DP is 1, and EDP is 1"),
        pytest.param("megatron", 1, 1, id="megatron"),
        pytest.param("gshard", 1, 3, id="gshard: ETP is 1"),
        pytest.param("shardwright", 1, 1, id="shardwright"),
    ],
)
def test_any_other_order_of_axes_fails(name: str, rank_orders: int, expert_orders: int) -> None:
    """Of all orders only so many make the documented groups: those that swap axes one of which is 1."""
    engine = BY_ID[name]
    truth = [(layout, documented(layout, engine)) for layout in reversed(legal(engine, "folded", FEW_GPUS))]

    def agrees(rank_order: tuple[str, ...], expert_order: tuple[str, ...]) -> bool:
        return all(made(layout, engine, rank_order, expert_order) == said for layout, said in truth)

    ranks = {order for order in permutations(RANK_ORDER) if agrees(order, engine.expert_order)}
    experts = {order for order in permutations(EXPERT_ORDER) if agrees(engine.rank_order, order)}
    assert engine.rank_order in ranks and len(ranks) == rank_orders
    assert engine.expert_order in experts and len(experts) == expert_orders
