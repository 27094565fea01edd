"""Ranks, nodes and tiers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shardwright.cluster.catalog import build_cluster
from shardwright.cluster.topology import nodes_spanned


@given(
    st.integers(1, 6).flatmap(
        lambda size: st.lists(
            st.lists(st.integers(0, 200), min_size=size, max_size=size), min_size=1, max_size=8
        )
    ),
    st.integers(1, 9),
)
def test_nodes_spanned_is_the_largest_set_of_nodes(groups: list[list[int]], gpus_per_node: int) -> None:
    expected = max(len({rank // gpus_per_node for rank in group}) for group in groups)
    assert nodes_spanned(np.array(groups), gpus_per_node) == expected


def test_tiers() -> None:
    cluster, _ = build_cluster(gpu="H100", nodes=2, gpus_per_node=8)
    assert [cluster.tier(3, rank) for rank in (3, 7, 8)] == ["self", "node", "network"]
