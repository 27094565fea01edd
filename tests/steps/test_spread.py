"""How many ranks and nodes a token's experts are on: the closed form against tokens drawn by chance."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.steps.spread import Spread

DEEPSEEK_V3 = Spread(num_experts=256, top_k=8, groups=8, top_groups=4)
NO_GROUPS = Spread(num_experts=256, top_k=8)


def drawn(spread: Spread, parts: int, tokens: int = 20_000) -> float:
    """The mean over tokens that choose their groups, and in these their experts, at random."""
    random = np.random.default_rng(7)
    groups = random.random((tokens, spread.groups)).argsort(axis=1)[:, : spread.top_groups]
    score = random.random((tokens, spread.num_experts))
    group_of = np.arange(spread.num_experts) * spread.groups // spread.num_experts
    allowed = (groups[:, :, None] == group_of).any(axis=1)
    chosen = np.where(allowed, score, -1).argsort(axis=1)[:, -spread.top_k :]
    part_of = np.arange(spread.num_experts) * parts // spread.num_experts
    return float(np.mean([len(set(row)) for row in part_of[chosen].tolist()]))


@pytest.mark.parametrize(
    "spread", [DEEPSEEK_V3, NO_GROUPS, Spread(num_experts=160, top_k=6, groups=8, top_groups=3)]
)
@pytest.mark.parametrize("parts", [1, 2, 4, 8, 16, 32])
def test_the_closed_form_is_the_mean_of_drawn_tokens(spread: Spread, parts: int) -> None:
    assert float(spread.parts_hit(parts)) == pytest.approx(drawn(spread, parts), rel=0.01)


def test_every_choice_counted() -> None:
    """6 experts in 3 groups, 2 of them chosen, then 2 experts; 3 parts: every equally likely choice, one by
    one."""
    spread = Spread(num_experts=6, top_k=2, groups=3, top_groups=2)
    hits = [
        len({expert // 2 for expert in experts})
        for groups in combinations(range(3), 2)
        for experts in combinations([expert for expert in range(6) if expert // 2 in groups], 2)
    ]
    assert float(spread.parts_hit(3)) == pytest.approx(sum(hits) / len(hits), rel=1e-12)


@given(
    experts=st.sampled_from([16, 64, 256]),
    top_k=st.integers(1, 8),
    parts=st.sampled_from([1, 2, 4, 8, 16]),
    groups=st.sampled_from([(1, 1), (4, 2), (8, 4)]),
)
def test_bounds(experts: int, top_k: int, parts: int, groups: tuple[int, int]) -> None:
    spread = Spread(num_experts=experts, top_k=min(top_k, 4), groups=groups[0], top_groups=groups[1])
    hit = float(spread.parts_hit(parts))
    assert 1 - 1e-12 <= hit <= min(parts, spread.top_k) + 1e-12
    assert hit <= float(Spread(num_experts=experts, top_k=spread.top_k).parts_hit(parts)) + 1e-9
    if groups[0] > 1 and parts <= groups[0]:
        assert hit <= groups[1] + 1e-12


def test_many_layouts_at_once() -> None:
    parts = np.array([1, 2, 4, 8, 32])
    assert DEEPSEEK_V3.parts_hit(parts) == pytest.approx(
        [float(DEEPSEEK_V3.parts_hit(int(p))) for p in parts]
    )
