"""How tokens choose experts: a profile, and what follows from it on average."""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from shardwright.errors import InputError
from shardwright.record import Record
from shardwright.workload.maximum import Counts, Floats, expected_maximum

NonNegative = Annotated[float, Field(ge=0)]


class RoutingProfile(Record):
    """Share of the tokens that each expert of a layer receives.

    uniform: all alike; zipf: share of the i-th expert ~ i^-exponent; histogram: stated shares, in
    expert order, of any positive sum (token counts will do).
    """

    kind: Literal["uniform", "zipf", "histogram"] = "uniform"
    exponent: float = Field(default=0.0, ge=0, le=2)
    shares: tuple[NonNegative, ...] = ()

    @model_validator(mode="after")
    def _fields_of_kind(self) -> "RoutingProfile":
        if (self.kind == "histogram") != bool(self.shares):
            raise ValueError("a histogram needs shares, and only a histogram has them")
        if self.shares and not 0 < sum(self.shares) < np.inf:
            raise ValueError("shares must have a positive sum")
        if (self.kind == "zipf") != (self.exponent > 0):
            raise ValueError("zipf needs an exponent above 0, and only zipf has one")
        return self


def expert_shares(profile: RoutingProfile, num_experts: int) -> Floats:
    """Share of a layer's tokens that goes to each expert: (num_experts,), sum 1.

    Raises InputError when a histogram has another number of experts.

    >>> expert_shares(RoutingProfile(kind="zipf", exponent=1.0), 2)
    array([0.66666667, 0.33333333])
    """
    if profile.kind == "histogram":
        if len(profile.shares) != num_experts:
            raise InputError(
                "workload.routing.shares",
                f"{len(profile.shares)} shares",
                f"{num_experts} shares: one for each expert of a layer",
            )
        weights = np.array(profile.shares)
    else:
        weights = np.arange(1, num_experts + 1, dtype=np.float64) ** -profile.exponent
    return np.asarray(weights / weights.sum())


def inclusion_probabilities(profile: RoutingProfile, num_experts: int, top_k: int) -> Floats:
    """Probability that a token's top_k distinct experts include each expert: (num_experts,), sum top_k.

    A token draws experts one after another, in proportion to their shares among those not yet drawn
    (what Gumbel noise on log shares and a top-k do). Uniform is exact: top_k / num_experts. Else the
    draws are taken one by one in mean field: an expert not yet drawn meets the mean remaining share
    of the others. Within 0.5 % of simulation in activated experts for Zipf exponents up to 1.5, where
    the single exponential clock of order sampling (Rosen 1997) errs by up to 6 %.

    Raises InputError when fewer than top_k experts have a share.
    """
    shares = expert_shares(profile, num_experts)
    drawable = shares > 0
    choices = int(drawable.sum())
    if top_k > choices:
        raise InputError("workload.routing.shares", f"{choices} experts with a share", f"at least {top_k}")
    if top_k == choices:
        return drawable.astype(np.float64)
    if profile.kind == "uniform":
        return np.full(num_experts, top_k / num_experts)
    share = shares[drawable]
    undrawn = np.ones(choices)
    for _ in range(top_k):
        drawn_share = share * (1 - undrawn)
        draw = undrawn * share / (1 - (drawn_share.sum() - drawn_share))
        draw = np.minimum(draw / draw.sum(), undrawn)
        spare = undrawn - draw
        undrawn = spare - (1 - draw.sum()) * spare / spare.sum()
    included = np.zeros(num_experts)
    included[drawable] = 1 - undrawn
    return included


def activated_experts(
    profile: RoutingProfile, num_experts: int, top_k: int, num_tokens: ArrayLike, *, ep: ArrayLike = 1
) -> Floats:
    """Expected number of distinct experts that num_tokens tokens choose, per rank on average over ep ranks.

    sum_i 1 - (1 - pi_i)^num_tokens, exact given the inclusion probabilities pi. num_tokens and ep
    broadcast. Cost: distinct token counts x distinct probabilities.

    >>> round(float(activated_experts(RoutingProfile(), 64, 8, 32)), 1)
    63.1
    """
    tokens = np.asarray(num_tokens, dtype=np.float64)
    distinct, place = np.unique(tokens, return_inverse=True)
    included, alike = np.unique(inclusion_probabilities(profile, num_experts, top_k), return_counts=True)
    hit = num_experts - _unhit(included, distinct[:, None]) @ alike
    return np.asarray(hit[place].reshape(tokens.shape) / np.asarray(ep))


def activated_per_rank(
    profile: RoutingProfile, num_experts: int, top_k: int, num_tokens: ArrayLike, ep: ArrayLike
) -> Floats:
    """E[distinct experts chosen on the rank that has most of them], linear placement on ep ranks.

    num_tokens (of all ranks together) and ep broadcast. For ep = 1 it is activated_experts; accuracy
    and cost are those of hottest_rank_factor.
    """
    mean = activated_experts(profile, num_experts, top_k, num_tokens, ep=ep)
    largest = mean * _by_rank(_activated_nodes, profile, num_experts, top_k, num_tokens, ep)
    return np.asarray(np.minimum(largest, -(-num_experts // np.asarray(ep))))


def hottest_rank_factor(
    profile: RoutingProfile, num_experts: int, top_k: int, num_tokens: ArrayLike, ep: ArrayLike
) -> Floats:
    """E[rows on the rank that has most] / mean rows of a rank, linear placement on ep ranks.

    Rows are token-expert pairs: num_tokens (of all ranks together) x top_k. num_tokens and ep
    broadcast. Exactly 1 for ep = 1; else within 5 % of simulation (8 to 256 experts, top-2 and
    top-8, Zipf exponents to 1). Below one token the factor of one token holds. Cost: 0.3 ms a
    distinct ep the first time (2 ms where shares differ), then an interpolation.
    """
    return _by_rank(_row_nodes, profile, num_experts, top_k, num_tokens, ep)


def rank_sums(values: Floats, ep: int) -> Floats:
    """Sums of per-expert values over the experts of each rank: (..., ranks) of (..., num_experts).

    Linear placement: contiguous blocks, the first num_experts % ep ranks holding one more (vLLM,
    determine_expert_map in fused_moe/layer.py). Ranks without experts are left out.
    """
    size, more = divmod(values.shape[-1], ep)
    ranks = np.arange(min(ep, values.shape[-1]))
    return np.add.reduceat(values, ranks * size + np.minimum(ranks, more), axis=-1)


_NODES = np.array([1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, np.inf])
"""Token counts at which max/mean is computed. Between them it is linear in tokens^-1/2, as noise is."""

_NOISE = _NODES**-0.5

Nodes = Callable[[RoutingProfile, int, int, tuple[int, ...]], Floats]
"""max/mean at _NODES of (profile, num_experts, top_k, degrees of ep), one row a degree."""


def _by_rank(
    nodes: Nodes,
    profile: RoutingProfile,
    num_experts: int,
    top_k: int,
    num_tokens: ArrayLike,
    ep: ArrayLike,
) -> Floats:
    """max/mean for every (tokens, ep): `nodes` once a distinct ep, interpolated in tokens."""
    tokens, ranks = np.broadcast_arrays(np.asarray(num_tokens, dtype=np.float64), np.asarray(ep))
    distinct, place = np.unique(ranks.ravel(), return_inverse=True)
    known = _known(nodes, profile, num_experts, top_k)
    new = tuple(degree for degree in distinct.tolist() if degree not in known)
    if new:
        known.update(zip(new, nodes(profile, num_experts, top_k, new), strict=True))
    values = np.array([known[degree] for degree in distinct.tolist()])
    noise = np.maximum(tokens.ravel(), 1.0) ** -0.5
    above = np.searchsorted(-_NOISE, -noise).clip(1)  # the first node of no more noise
    share = (noise - _NOISE[above]) / (_NOISE[above - 1] - _NOISE[above])
    low, high = values[place, above], values[place, above - 1]
    return np.asarray((low + share * (high - low)).reshape(tokens.shape))


@lru_cache(maxsize=64)
def _known(nodes: Nodes, profile: RoutingProfile, num_experts: int, top_k: int) -> dict[int, Floats]:
    """The rows of `nodes` that were asked for, by ep."""
    return {1: np.ones(len(_NODES))}


def _row_nodes(profile: RoutingProfile, num_experts: int, top_k: int, eps: tuple[int, ...]) -> Floats:
    """hottest_rank_factor at _NODES.

    A token's picks are taken as independent of each other but for their number, so that a rank's
    rows have variance sum pi (1 - pi) a token before the total is fixed. Fixing the total of all
    tokens instead of each token's leaves a factor (E - 1/T) / (E - 1), which is put in here.
    """
    included = inclusion_probabilities(profile, num_experts, top_k)
    tokens = _NODES[:-1, None]
    correction = (num_experts - 1 / tokens) / max(num_experts - 1, 1)
    spread = tokens * correction * included * (1 - included)
    largest = _largest_of_ranks(tokens * included, spread, np.zeros(len(tokens)), eps)
    most = np.array([[rank_sums(included, ep).max()] for ep in eps])
    held = np.array([[min(top_k, -(-num_experts // ep))] for ep in eps])
    rows = np.hstack((largest / tokens[:, 0], most))
    return np.asarray(np.clip(rows, most, held) * np.array(eps)[:, None] / top_k)


def _activated_nodes(profile: RoutingProfile, num_experts: int, top_k: int, eps: tuple[int, ...]) -> Floats:
    """max/mean of a rank's activated experts at _NODES.

    Whether an expert is hit is independent of the others but for the total, whose variance is
    sum m (1 - m) - T (sum m pi)^2 / sum pi (1 - pi), m = (1 - pi)^T: the covariance of two experts'
    misses when a token's picks have a fixed number (first order; exactly 0 for one token).
    """
    included = inclusion_probabilities(profile, num_experts, top_k)
    tokens = _NODES[:-1]
    miss = _unhit(included, tokens[:, None])
    free = max(float((included * (1 - included)).sum()), 1e-300)
    total_variance = np.maximum((miss * (1 - miss)).sum(axis=1) - tokens * (miss @ included) ** 2 / free, 0)
    largest = _largest_of_ranks(1 - miss, miss * (1 - miss), total_variance, eps)
    chosen = (included > 0).astype(np.float64)
    most = np.array([[rank_sums(chosen, ep).max()] for ep in eps])
    total = np.append((1 - miss).sum(axis=1), chosen.sum())
    return np.asarray(np.maximum(np.hstack((largest, most)) * np.array(eps)[:, None] / total, 1.0))


def _largest_of_ranks(mean: Floats, variance: Floats, total_variance: Floats, eps: tuple[int, ...]) -> Floats:
    """E[count of the rank that has most]: (eps, cases), of counts by expert: (cases, experts).

    Degrees that leave as many kinds of ranks are taken together.
    """
    of_ranks = [rank_sums(np.stack((mean, variance)), ep) for ep in eps]
    kinds = [_classes(means) for means, _ in of_ranks]
    largest = np.empty((len(eps), len(mean)))
    for number in {len(copies) for _, copies in kinds}:
        rows = [row for row, (_, copies) in enumerate(kinds) if len(copies) == number]
        means, variances = np.stack([of_ranks[row][..., kinds[row][0]] for row in rows], axis=1)
        copies = np.array([kinds[row][1] for row in rows])[:, None, :]
        counts = Counts(
            mean=means,
            variance=variances,
            copies=np.broadcast_to(copies, means.shape),
            total_variance=np.broadcast_to(total_variance, means.shape[:-1]),
        )
        largest[rows] = expected_maximum(counts)
    return largest


def _unhit(included: Floats, tokens: NDArray[np.float64]) -> Floats:
    """(1 - pi)^tokens: the chance that none of the tokens chooses the expert."""
    return np.asarray((1 - included) ** tokens)


def _classes(mean: Floats) -> tuple[NDArray[np.intp], Floats]:
    """One rank of each kind, and how many ranks are of it; ranks are alike when they have one mean.

    mean is (..., ranks).
    """
    columns = mean.reshape(-1, mean.shape[-1]).round(9)
    if (columns == columns[:, :1]).all():  # to sort them takes longer than all else
        return np.zeros(1, dtype=np.intp), np.array([float(mean.shape[-1])])
    order = np.lexsort(columns[::-1])
    is_new = np.append(True, (np.diff(columns[:, order]) != 0).any(axis=0))
    copies = np.diff(np.flatnonzero(is_new), append=len(order))
    return order[is_new], copies.astype(np.float64)
