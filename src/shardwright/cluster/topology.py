"""Where groups of ranks lie on a cluster."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def nodes_spanned(groups: NDArray[np.integer[Any]], gpus_per_node: int) -> int:
    """The most nodes that any one of the groups touches; groups is (num_groups, group_size) of ranks.

    >>> nodes_spanned(np.array([[0, 8], [1, 2]]), gpus_per_node=8)
    2
    """
    nodes = np.sort(groups // gpus_per_node, axis=1)
    return int(1 + np.count_nonzero(np.diff(nodes, axis=1), axis=1).max())
