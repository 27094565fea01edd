"""Gaps between two tokens of a request, counted in classes: there are as many of them as tokens."""

import numpy as np

from shardwright.serving.compiled import compiled
from shardwright.serving.times import Floats

FIRST_GAP_S = 1e-6
GAPS_AN_E = 100
NUM_GAPS = 2100
"""Classes are 1 % wide, from a microsecond up to 20 minutes."""


@compiled
def gap_class(gap_s: float) -> int:
    """Class of a gap between two tokens."""
    return int(min(max(np.log(max(gap_s, FIRST_GAP_S) / FIRST_GAP_S) * GAPS_AN_E, 0.0), NUM_GAPS - 1.0))


@compiled
def count_gaps(gaps: Floats, count: int, from_s: float, more_s: float, times: int) -> None:
    """Count `times` gaps for each of `count` steps of a line: step i takes from_s + i x more_s seconds."""
    done = 0
    while done < count:
        here = gap_class(from_s + done * more_s)
        alike, others = done, count
        while others - alike > 1:
            middle = (alike + others) // 2
            if gap_class(from_s + middle * more_s) == here:
                alike = middle
            else:
                others = middle
        gaps[here] += times * (others - done)
        done = others
