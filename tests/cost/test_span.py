"""Nodes that groups touch: the closed form against the groups themselves."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from shardwright.cluster.topology import nodes_spanned
from shardwright.cost.span import axis_nodes
from shardwright.engine.catalog import ENGINES
from shardwright.layout.grid import build_grid, groups
from shardwright.layout.layout import Layout


def exact(engine: str, layout: Layout, axis: str, gpus_per_node: int) -> int:
    rule = ENGINES[engine]
    orders = {"rank_order": rule.rank_order, "expert_order": rule.expert_order}
    grid = build_grid(layout, **orders) if layout.home == "folded" else build_grid(layout)
    found = groups(grid, axis)
    if axis == "pp":  # what counts is whether a hop between neighbours leaves the node
        hops = np.stack([found[:, :-1].ravel(), found[:, 1:].ravel()], axis=1)
        return nodes_spanned(hops, gpus_per_node) if hops.size else 1
    return nodes_spanned(found, gpus_per_node)


power = st.sampled_from([1, 2, 4, 8])


@given(power, power, power, st.sampled_from([1, 2]), st.sampled_from(["vllm", "shardwright"]), power)
def test_exact_where_degrees_divide_the_node(
    tp: int, dp: int, pp: int, copies: int, engine: str, gpus_per_node: int
) -> None:
    assume(tp * dp * pp * copies <= 128)
    layout = Layout(tp=tp, dp=dp, pp=pp, ep=tp * dp, copies=copies)
    spans = axis_nodes(ENGINES[engine], layout, gpus_per_node)
    for axis in ("tp", "dp", "ep", "exchange"):
        assert float(np.asarray(spans[axis])) == exact(engine, layout, axis, gpus_per_node), axis
    if pp > 1:
        assert (float(np.asarray(spans["pp"])) > 1) == (exact(engine, layout, "pp", gpus_per_node) > 1)


@given(
    *[st.integers(1, 6) for _ in range(3)],
    st.sampled_from(["vllm", "shardwright"]),
    st.integers(1, 8),
    st.sampled_from(["folded", "per_stage", "shared"]),
)
def test_never_too_few(tp: int, dp: int, pp: int, engine: str, gpus_per_node: int, home: str) -> None:
    """Of one copy: the others start on nodes alike."""
    engine = engine if home == "folded" else "shardwright"
    layout = Layout(tp=tp, dp=dp, pp=pp, ep=tp * dp, home=home)  # type: ignore[arg-type]
    spans = axis_nodes(ENGINES[engine], layout, gpus_per_node)
    for axis in ("tp", "dp", "exchange"):
        assert float(np.asarray(spans[axis])) >= exact(engine, layout, axis, gpus_per_node), axis
