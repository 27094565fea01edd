"""What fits in memory: the most sequences of a length, and the longest of them, exact at the boundary.

All but KV does not depend on the load, so that both follow from what is left for KV.
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from shardwright.cost.memory import RankMemory, largest
from shardwright.record import Size


def sequences_that_fit(memories: Sequence[RankMemory], length: int) -> Size:
    """The most sequences of `length` tokens on one attention rank; -1 where the weights do not fit."""
    return -largest(memories, lambda row: -row.most_sequences(length))


def most_sequences(memories: Sequence[RankMemory], length: int) -> int:
    """sequences_that_fit of one layout."""
    return int(np.asarray(sequences_that_fit(memories, length)))


def longest_sequence(memories: Sequence[RankMemory], positions: int, sequences: int = 1) -> int:
    """The most tokens, up to `positions`, of which each attention rank holds so many sequences; 0: none."""
    lengths = range(1, positions + 1)
    return bisect_left(lengths, True, key=lambda length: most_sequences(memories, length) < sequences)
