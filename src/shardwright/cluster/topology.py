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


def copies_that_fit(gpus_per_copy: Size, nodes: int, gpus_per_node: int) -> Size:
    """How many copies a cluster holds when none straddles nodes that it need not: a copy that fits a node
    stays in one, a larger one starts on a node of its own.

    >>> int(copies_that_fit(3, nodes=2, gpus_per_node=8)), int(copies_that_fit(12, nodes=4, gpus_per_node=8))
    (4, 2)
    """
    size = np.asarray(gpus_per_copy)
    inside = nodes * (gpus_per_node // np.minimum(size, gpus_per_node))
    return np.where(size <= gpus_per_node, inside, nodes // -(-size // gpus_per_node))


def first_gpu(copy: int, gpus_per_copy: int, gpus_per_node: int) -> int:
    """The GPU that copy number `copy` starts on, see copies_that_fit.

    >>> [first_gpu(copy, 3, 8) for copy in range(4)]
    [0, 3, 8, 11]
    """
    if gpus_per_copy > gpus_per_node:
        return copy * -(-gpus_per_copy // gpus_per_node) * gpus_per_node
    node, place = divmod(copy, gpus_per_node // gpus_per_copy)
    return node * gpus_per_node + place * gpus_per_copy
