"""Where groups of ranks lie on a cluster."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.record import Size


def nodes_spanned(groups: NDArray[np.integer[Any]], gpus_per_node: int) -> int:
    """The most nodes that any one of the groups touches; groups is (num_groups, group_size) of ranks.

    >>> nodes_spanned(np.array([[0, 8], [1, 2]]), gpus_per_node=8)
    2
    """
    nodes = np.sort(groups // gpus_per_node, axis=1)
    return int(1 + np.count_nonzero(np.diff(nodes, axis=1), axis=1).max())


def copies_that_fit(gpus_per_copy: Size, nodes: int, gpus_per_node: int, nodes_per_domain: int = 1) -> Size:
    """How many copies a cluster holds when none straddles what it need not.

    A copy that fits a node stays in one; a larger one starts on a node of its own, and stays in one
    scale-up domain if it fits there; one that does not starts on a domain of its own.

    >>> int(copies_that_fit(3, nodes=2, gpus_per_node=8)), int(copies_that_fit(12, nodes=4, gpus_per_node=8))
    (4, 2)
    >>> int(copies_that_fit(16, nodes=36, gpus_per_node=4, nodes_per_domain=18))
    8
    """
    size = np.asarray(gpus_per_copy)
    copy_nodes = -(-size // gpus_per_node)
    in_nodes = nodes * (gpus_per_node // np.minimum(size, gpus_per_node))
    whole, rest = divmod(nodes, nodes_per_domain)
    narrow = np.minimum(copy_nodes, nodes_per_domain)
    in_domains = whole * (nodes_per_domain // narrow) + rest // narrow
    stride = -(-copy_nodes // nodes_per_domain) * nodes_per_domain
    across_domains = np.maximum(0, (nodes - copy_nodes) // stride + 1)
    larger = np.where(copy_nodes <= nodes_per_domain, in_domains, across_domains)
    fits: Size = np.where(size <= gpus_per_node, in_nodes, larger)
    return fits


def first_gpu(copy: int, gpus_per_copy: int, gpus_per_node: int, nodes_per_domain: int = 1) -> int:
    """The GPU that copy number `copy` starts on, see copies_that_fit.

    >>> [first_gpu(copy, 3, 8) for copy in range(4)]
    [0, 3, 8, 11]
    """
    copy_nodes = -(-gpus_per_copy // gpus_per_node)
    if copy_nodes > nodes_per_domain:
        return copy * -(-copy_nodes // nodes_per_domain) * nodes_per_domain * gpus_per_node
    if gpus_per_copy > gpus_per_node:
        domain, place = divmod(copy, nodes_per_domain // copy_nodes)
        return (domain * nodes_per_domain + place * copy_nodes) * gpus_per_node
    node, place = divmod(copy, gpus_per_node // gpus_per_copy)
    return node * gpus_per_node + place * gpus_per_copy
