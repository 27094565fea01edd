"""Gaps between two tokens of a request, counted in classes: there are as many of them as tokens."""

import numpy as np

from shardwright.serving.compiled import compiled

FIRST_GAP_S = 1e-6
GAPS_AN_E = 100
NUM_GAPS = 2100
"""Classes are 1 % wide, from a microsecond up to 20 minutes."""


@compiled
def gap_class(gap_s: float) -> int:
    """Class of a gap between two tokens."""
    return int(min(max(np.log(max(gap_s, FIRST_GAP_S) / FIRST_GAP_S) * GAPS_AN_E, 0.0), NUM_GAPS - 1.0))
