"""Shares, inclusion, activated experts and the hottest rank against enumeration and simulation."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from shardwright.errors import InputError
from shardwright.workload.routing import (
    Nodes,
    RoutingProfile,
    _activated_nodes,
    _row_nodes,
    activated_experts,
    activated_per_rank,
    expert_shares,
    hottest_rank_factor,
    inclusion_probabilities,
    rank_sums,
)
from tests.workload.gumbel import chances, per_rank, picks

UNIFORM = RoutingProfile()
PROFILES = {0.0: UNIFORM} | {a: RoutingProfile(kind="zipf", exponent=a) for a in (0.6, 1.0)}
TOKENS = (1, 4, 32, 128, 2048)
DEGREES = (2, 4, 8, 32)


def histogram(*shares: float) -> RoutingProfile:
    return RoutingProfile(kind="histogram", shares=shares)


@pytest.mark.parametrize("num_experts", [8, 64, 128, 256])
@pytest.mark.parametrize("exponent", PROFILES)
@pytest.mark.parametrize("top_k", [2, 8])
def test_simulation(num_experts: int, exponent: float, top_k: int) -> None:
    """Activated experts within 1 %, the hottest rank and its activated experts within 5 %."""
    profile, rng = PROFILES[exponent], np.random.default_rng(20260101)
    shares = expert_shares(profile, num_experts)
    for num_tokens in TOKENS:
        samples = int(np.clip(8e5 / (num_tokens * num_experts), 5, 1500))
        rows = picks(shares, top_k, num_tokens, samples, rng)
        hit = (rows > 0).astype(np.int64)
        _close(hit.sum(axis=1), activated_experts(profile, num_experts, top_k, num_tokens), 0.01)
        for ep in DEGREES:
            factor = hottest_rank_factor(profile, num_experts, top_k, num_tokens, ep)
            _close(per_rank(rows, ep).max(axis=1), factor * num_tokens * top_k / ep, 0.05)
            worst = activated_per_rank(profile, num_experts, top_k, num_tokens, ep)
            _close(per_rank(hit, ep).max(axis=1), worst, 0.05)


def _close(samples: NDArray[np.int64], predicted: NDArray[np.float64], tolerance: float) -> None:
    """The mean of the samples is `predicted`, up to a relative tolerance and 3 standard errors."""
    error = 3 * samples.std() / np.sqrt(len(samples))
    assert abs(float(predicted) - samples.mean()) <= tolerance * samples.mean() + error + 1e-9


@pytest.mark.parametrize("top_k", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("shares", [(6, 5, 4, 3, 2, 1), (9, 1, 1, 1, 1, 1), (1, 2, 1, 2, 1, 2)])
def test_inclusion_against_enumeration(shares: tuple[int, ...], top_k: int) -> None:
    profile = histogram(*shares)
    exact = np.zeros(len(shares))
    for chosen, chance in chances(expert_shares(profile, 6), top_k).items():
        exact[list(chosen)] += chance
    included = inclusion_probabilities(profile, 6, top_k)
    assert included == pytest.approx(exact, rel=0.05)
    for num_tokens in (2, 8, 32):
        activated = float(activated_experts(profile, 6, top_k, num_tokens))
        assert activated == pytest.approx(float((1 - (1 - exact) ** num_tokens).sum()), rel=0.02)


@pytest.mark.parametrize(
    ("num_experts", "top_k", "ep"), [(8, 2, 2), (8, 2, 4), (8, 3, 2), (12, 3, 4), (7, 2, 3)]
)
def test_one_token_on_uniform_experts_is_exact(num_experts: int, top_k: int, ep: int) -> None:
    """One token fixes the total, so the Fourier sum has the true (multivariate hypergeometric) counts."""
    owner = np.concatenate(
        [[rank] * len(b) for rank, b in enumerate(np.array_split(np.arange(num_experts), ep))]
    )
    exact = sum(
        chance * np.bincount(owner[list(chosen)]).max()
        for chosen, chance in chances(np.full(num_experts, 1 / num_experts), top_k).items()
    )
    assert float(hottest_rank_factor(UNIFORM, num_experts, top_k, 1, ep)) == pytest.approx(exact * ep / top_k)
    assert float(activated_per_rank(UNIFORM, num_experts, top_k, 1, ep)) == pytest.approx(exact)


@pytest.mark.parametrize(
    ("num_experts", "top_k", "ep", "tolerance"), [(256, 8, 32, 0.03), (8, 2, 4, 0.03), (64, 8, 2, 0.15)]
)
def test_many_tokens_reach_the_normal_law(num_experts: int, top_k: int, ep: int, tolerance: float) -> None:
    """Uniform: 1 + E[max of ep standard normals] x deviation of a rank's rows / their mean."""
    level = np.linspace(-8, 8, 4001)
    below = np.array([(1 + math.erf(x / math.sqrt(2))) / 2 for x in level]) ** ep
    largest_normal = 8 - np.trapezoid(below, level)
    num_tokens = 20_000
    share = top_k / ep
    variance = share * (1 - 1 / ep) * (num_experts - top_k) / (num_experts - 1) * ep / (ep - 1)
    noise = largest_normal * np.sqrt(variance / num_tokens) / share
    factor = float(hottest_rank_factor(UNIFORM, num_experts, top_k, num_tokens, ep))
    assert factor - 1 == pytest.approx(noise, rel=tolerance)


@pytest.mark.parametrize(("num_experts", "top_k"), [(1, 1), (8, 2), (8, 8), (60, 4), (257, 9)])
def test_uniform_is_exact(num_experts: int, top_k: int) -> None:
    assert (
        inclusion_probabilities(UNIFORM, num_experts, top_k).tolist() == [top_k / num_experts] * num_experts
    )
    tokens = np.array([0, 1, 7, 500])
    expected = num_experts * (1 - (1 - top_k / num_experts) ** tokens)
    assert activated_experts(UNIFORM, num_experts, top_k, tokens) == pytest.approx(expected)


@given(
    st.lists(st.floats(0.01, 100), min_size=2, max_size=40),
    st.integers(1, 40),
    st.integers(1, 50),
    st.integers(1, 5000),
)
def test_laws(shares: list[float], top_k: int, ep: int, num_tokens: int) -> None:
    num_experts, profile = len(shares), histogram(*shares)
    top_k = min(top_k, num_experts)
    included = inclusion_probabilities(profile, num_experts, top_k)
    assert included.sum() == pytest.approx(top_k)
    assert ((included > 0) & (included <= 1)).all()
    order = np.argsort(shares)
    assert (np.diff(included[order]) >= -1e-9).all()
    per_token = rank_sums(included, ep)
    assert per_token.sum() == pytest.approx(top_k)
    factor = float(hottest_rank_factor(profile, num_experts, top_k, num_tokens, ep))
    most = min(top_k, -(-num_experts // ep))
    assert max(per_token.max(), 1e-9) * ep / top_k - 1e-9 <= factor <= most * ep / top_k + 1e-9
    activated = float(activated_experts(profile, num_experts, top_k, num_tokens))
    worst = float(activated_per_rank(profile, num_experts, top_k, num_tokens, ep))
    assert top_k - 1e-9 <= activated <= num_experts + 1e-9
    assert activated / ep - 1e-9 <= worst <= min(-(-num_experts // ep), activated + 1e-9)


def test_experts_without_a_share_are_never_chosen() -> None:
    profile = histogram(1, 1, 0, 0, 0, 0)
    assert inclusion_probabilities(profile, 6, 2).tolist() == [1, 1, 0, 0, 0, 0]
    assert float(hottest_rank_factor(profile, 6, 1, 64, 3)) == 3.0
    assert float(activated_per_rank(profile, 6, 2, 64, 3)) == 2.0
    with pytest.raises(InputError, match=r"2 experts with a share.*at least 3"):
        inclusion_probabilities(profile, 6, 3)


def test_linear_placement_gives_the_first_ranks_one_more() -> None:
    assert rank_sums(np.ones(10), 4).tolist() == [3, 3, 2, 2]
    assert rank_sums(np.ones(3), 5).tolist() == [1, 1, 1]


def test_arrays_broadcast_and_agree_with_scalars() -> None:
    tokens, degrees = np.array([1.0, 5.5, 300, 7e5]), np.array([1, 4, 4, 8])
    for function in (hottest_rank_factor, activated_per_rank):
        together = function(PROFILES[0.6], 64, 8, tokens, degrees)
        alone = [float(function(PROFILES[0.6], 64, 8, t, g)) for t, g in zip(tokens, degrees, strict=True)]
        assert together == pytest.approx(alone, rel=1e-12)
        assert function(UNIFORM, 64, 8, tokens[:, None], degrees).shape == (4, 4)
    assert hottest_rank_factor(PROFILES[1.0], 64, 8, tokens, 1).tolist() == [1.0] * 4


def test_noise_falls_with_tokens_to_the_skew_alone() -> None:
    tokens = np.geomspace(1, 1e7, 60)
    for exponent, limit in ((0.0, 1.0), (1.0, None)):
        profile = PROFILES[exponent]
        factor = hottest_rank_factor(profile, 64, 8, tokens, 8)
        skew = rank_sums(inclusion_probabilities(profile, 64, 8), 8).max()
        assert (np.diff(factor) <= 1e-3).all()
        assert factor[-1] == pytest.approx(limit or skew, rel=2e-3)


def test_a_hundred_thousand_candidates_are_quick() -> None:
    rng = np.random.default_rng(0)
    ep, tokens = rng.integers(1, 100, 100_000), rng.integers(1, 1000, 100_000)
    hottest_rank_factor(UNIFORM, 128, 7, tokens, ep)
    start = time.process_time()
    hottest_rank_factor(UNIFORM, 128, 7, tokens, ep)
    assert time.process_time() - start < 0.2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "zipf"}, "zipf needs an exponent"),
        ({"exponent": 1.0}, "only zipf has one"),
        ({"kind": "histogram"}, "needs shares"),
        ({"shares": (1.0,)}, "only a histogram"),
        ({"kind": "histogram", "shares": (0.0, 0.0)}, "positive sum"),
        ({"kind": "histogram", "shares": (1.0, -1.0)}, "greater than or equal to 0"),
        ({"kind": "histogram", "shares": (1.0, float("nan"))}, "finite"),
        ({"kind": "zipf", "exponent": 2.5}, "less than or equal to 2"),
    ],
)
def test_a_profile_has_the_fields_of_its_kind(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RoutingProfile.model_validate(fields)


def test_a_histogram_needs_one_share_an_expert() -> None:
    assert expert_shares(histogram(3, 1), 2).tolist() == [0.75, 0.25]
    with pytest.raises(InputError, match=r"workload.routing.shares: '2 shares' .*4 shares"):
        expert_shares(histogram(3, 1), 4)


@pytest.mark.parametrize("exponent", PROFILES)
@pytest.mark.parametrize("nodes", [_row_nodes, _activated_nodes])
def test_degrees_computed_together_are_each_computed_alone(nodes: Nodes, exponent: float) -> None:
    degrees = (2, 3, 5, 8, 13, 48, 64, 80)
    together = nodes(PROFILES[exponent], 64, 8, degrees)
    for ep, row in zip(degrees, together, strict=True):
        assert row == pytest.approx(nodes(PROFILES[exponent], 64, 8, (ep,))[0], rel=1e-12)
