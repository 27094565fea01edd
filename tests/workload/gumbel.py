"""The oracle of the routing tests: tokens that choose experts by Gumbel top-k, counted."""

import itertools

import numpy as np
from numpy.typing import NDArray


def picks(
    shares: NDArray[np.float64], top_k: int, num_tokens: int, samples: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Tokens of each expert: (samples, num_experts)."""
    counts = np.zeros((samples, len(shares)), dtype=np.int64)
    for sample in range(samples):
        scores = np.log(shares, dtype=np.float32) - np.log(
            rng.standard_exponential((num_tokens, len(shares)), dtype=np.float32)
        )
        chosen = np.argpartition(-scores, top_k - 1, axis=1)[:, :top_k]
        counts[sample] = np.bincount(chosen.ravel(), minlength=len(shares))
    return counts


def per_rank(values: NDArray[np.int64], ep: int) -> NDArray[np.int64]:
    """Sums over the experts of each rank: (samples, ep), the first ranks holding one more."""
    blocks = np.array_split(np.arange(values.shape[1]), ep)
    return np.stack([values[:, block].sum(axis=1) for block in blocks], axis=1)


def chances(shares: NDArray[np.float64], top_k: int) -> dict[frozenset[int], float]:
    """Exact probability of each set of top_k experts that are drawn one after another."""
    result: dict[frozenset[int], float] = {}
    for order in itertools.permutations(range(len(shares)), top_k):
        chance, left = 1.0, 1.0
        for expert in order:
            chance *= shares[expert] / left
            left -= shares[expert]
        result[frozenset(order)] = result.get(frozenset(order), 0.0) + chance
    return result
