"""Rows of each expert on the rank that was timed, as those who measured dealt them.

Balanced: token t takes experts t + j ceil(E / k), j < k, round the ring; the first rank is timed. Power law
of exponent a: the load of an expert is drawn between 1 and 0.8 tokens (0.01 and 2 where there are fewer rows
than experts), scaled to tokens x k, at most one row a token; what rounding lost is dealt evenly over ranks,
there to the idlest experts; the hottest rank is timed, a mean over draws. Source: the collector of
aiconfigurator 0.12 (Apache-2.0), collector/helper.py; its seeds are not known, so the draws here are our own.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 16

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Dealt:
    """rows, active: of the timed rank, rows and experts that have any (means over draws)."""

    rows: float
    active: float


@cache
def dealt(tokens: int, num_experts: int, top_k: int, ep: int, exponent: float | None) -> Dealt:
    """What the timed rank of `ep` has. tokens: of all ranks together. exponent: None is balanced."""
    each = -(-num_experts // ep)
    if exponent is None:
        counts = balanced_counts(tokens, num_experts, top_k)[None, :each]
    else:
        every = power_counts(tokens, num_experts, top_k, ep, exponent)
        ranks = every.reshape(DRAWS, ep, -1)
        counts = ranks[np.arange(DRAWS), ranks.sum(axis=2).argmax(axis=1)]
    return Dealt(rows=float(counts.sum(axis=1).mean()), active=float((counts > 0).sum(axis=1).mean()))


def balanced_counts(tokens: int, num_experts: int, top_k: int) -> Counts:
    """Rows of every expert; fewer tokens than a stride are spread over it."""
    stride = -(-num_experts // top_k)
    first = np.arange(tokens) if tokens >= stride else np.arange(tokens) * stride / tokens
    chosen = np.floor((first[:, None] + np.arange(top_k) * stride) % num_experts).astype(int)
    return np.bincount(chosen.ravel(), minlength=num_experts).astype(float)


def power_counts(tokens: int, num_experts: int, top_k: int, ep: int, exponent: float) -> Counts:
    """Rows of every expert, one row a draw: shape (DRAWS, num_experts)."""
    seed = [tokens, num_experts, top_k, ep, round(exponent * 100)]
    uniform = np.random.default_rng(seed).random((DRAWS, num_experts))
    total = tokens * top_k
    low, high = (1.0, 0.8 * tokens) if total > num_experts else (0.01, 2.0)
    power = 1 - exponent
    load = ((high**power - low**power) * uniform + low**power) ** (1 / power)
    counts = np.minimum(np.round(load / load.sum(axis=1, keepdims=True) * total), tokens)
    missing = total - counts.sum(axis=1)
    filled = _filled(counts, np.maximum(missing, 0), tokens, ep)
    return tokens - _filled(tokens - filled, np.maximum(-missing, 0), tokens, ep)


def _filled(counts: Counts, more: Counts, most: int, ep: int) -> Counts:
    """`more` rows of each draw dealt evenly over its ranks, to their idlest experts, none above `most`."""
    ranks = counts.reshape(len(counts), ep, -1).copy()
    left = more.copy()
    while np.any(left > 0):
        room = (most - ranks).sum(axis=2)
        turn = np.cumsum(room > 0, axis=1)
        open_ranks = np.maximum(turn[:, -1:], 1)
        share = left[:, None] // open_ranks + (turn <= left[:, None] % open_ranks)
        share = np.where(room > 0, np.minimum(share, room), 0)
        ranks = _poured(ranks, share, most)
        left = left - share.sum(axis=1)
    return ranks.reshape(counts.shape)


def _poured(ranks: Counts, share: Counts, most: int) -> Counts:
    """Each rank's share on its idlest experts: up to a common level, what is left over one each in order."""
    low, high = np.zeros(share.shape), np.full(share.shape, float(most))
    while np.any(low < high):
        level = np.ceil((low + high) / 2)
        fits = np.maximum(level[..., None] - ranks, 0).sum(axis=2) <= share
        low, high = np.where(fits, level, low), np.where(fits, high, level - 1)
    level = low[..., None]
    poured = np.maximum(ranks, level)
    left = share - (poured - ranks).sum(axis=2)
    at_level = (poured == level) & (poured < most)
    return poured + (at_level & (np.cumsum(at_level, axis=2) <= left[..., None]))
