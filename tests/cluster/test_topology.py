"""Ranks, nodes and tiers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shardwright.cluster.catalog import build_cluster
from shardwright.cluster.topology import copies_that_fit, first_gpu, nodes_spanned


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
    assert [cluster.tier(3, rank) for rank in (3, 7, 8)] == ["self", "scale_up", "scale_out"]


def test_copies_stay_in_nodes_where_they_can() -> None:
    """6 GPUs a copy on nodes of 8: one a node, each from its first GPU on; 12: two nodes each."""
    assert int(copies_that_fit(6, nodes=2, gpus_per_node=8)) == 2
    assert [first_gpu(copy, 6, 8) for copy in range(2)] == [0, 8]
    assert int(copies_that_fit(12, nodes=5, gpus_per_node=8)) == 2
    assert [first_gpu(copy, 12, 8) for copy in range(2)] == [0, 16]
    assert int(copies_that_fit(20, nodes=2, gpus_per_node=8)) == 0


@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 9), st.integers(1, 40))
def test_copies_straddle_neither_node_nor_domain_that_they_need_not(
    nodes: int, gpus_per_node: int, nodes_per_domain: int, size: int
) -> None:
    """Against a walk over the GPUs that puts each copy on the first place that is allowed."""
    domain, total, next_gpu, starts = gpus_per_node * nodes_per_domain, nodes * gpus_per_node, 0, []
    for gpu in range(total):
        unit = 1 if size <= gpus_per_node else gpus_per_node if size <= domain else domain
        inside = [room for room in (gpus_per_node, domain) if size <= room]
        whole = all(gpu // room == (gpu + size - 1) // room for room in inside[:1])
        if gpu >= next_gpu and gpu % unit == 0 and whole and gpu + size <= total:
            starts.append(gpu)
            next_gpu = gpu + size
    fits = int(copies_that_fit(size, nodes, gpus_per_node, nodes_per_domain))
    assert fits == len(starts)
    assert [first_gpu(copy, size, gpus_per_node, nodes_per_domain) for copy in range(fits)] == starts
