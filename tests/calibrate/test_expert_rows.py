"""What the timed rank has: against plain counting, and against what a deal must keep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.calibrate.expert_rows import balanced_counts, dealt, power_counts


@pytest.mark.parametrize(
    ("tokens", "experts", "top_k", "counts"),
    [
        (1, 8, 2, [1, 0, 0, 0, 1, 0, 0, 0]),
        (4, 8, 2, [1, 1, 1, 1, 1, 1, 1, 1]),
        (2, 8, 2, [1, 0, 1, 0, 1, 0, 1, 0]),
        (6, 4, 2, [3, 3, 3, 3]),
    ],
)
def test_balanced_by_hand(tokens: int, experts: int, top_k: int, counts: list[int]) -> None:
    assert balanced_counts(tokens, experts, top_k).tolist() == counts


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([1, 3, 16, 200, 4096]),
    st.sampled_from([(8, 2), (64, 6), (128, 8), (256, 8)]),
    st.sampled_from([1, 2, 8]),
    st.sampled_from([1.01, 1.2]),
)
def test_every_row_is_dealt_and_no_expert_has_a_token_twice(
    tokens: int, shape: tuple[int, int], ep: int, exponent: float
) -> None:
    experts, top_k = shape
    counts = power_counts(tokens, experts, top_k, ep, exponent)
    assert np.all(counts.sum(axis=1) == tokens * top_k)
    assert counts.min() >= 0
    assert counts.max() <= tokens


@pytest.mark.parametrize("ep", [1, 4, 16])
def test_the_hottest_rank_has_more_than_its_share(ep: int) -> None:
    even, skewed = dealt(1024, 128, 8, ep, None), dealt(1024, 128, 8, ep, 1.2)
    assert even.rows == 1024 * 8 / ep
    assert even.active == 128 / ep
    assert skewed.rows >= even.rows
    assert skewed.active <= 128 / ep
    if ep > 1:
        assert skewed.rows > 1.1 * even.rows


def test_few_tokens_reach_few_experts() -> None:
    assert dealt(1, 128, 8, 1, None).active == 8
    assert dealt(1, 128, 8, 16, None).active == 1
    assert dealt(4, 128, 8, 1, 1.2).active <= 32
