"""The next token of a sequence: the most likely one, or drawn with a seed."""

import numpy as np
import torch
from torch import Tensor

from shardwright.plan.generation import Sampling

GREEDY = Sampling()


def next_token(logits_V: Tensor, sampling: Sampling, *, sequence: int, place: int) -> int:
    """The token that follows, `place` tokens after the prompt.

    Nucleus sampling (arXiv 1904.09751): the fewest tokens whose probabilities reach top_p, after top_k.
    Every token of the vocabulary runs an exponential clock of its own, and the one that rings first with
    its probability as rate is drawn (Efraimidis and Spirakis 2006, for one item): noise that belongs to
    tokens, not to their order, leaves a draw as it is where two layouts differ in the last digits.
    """
    if sampling.temperature == 0.0:
        return int(logits_V.argmax())
    logits_V = logits_V.double().cpu()
    scaled, order = ((logits_V - logits_V.max()) / sampling.temperature).sort(descending=True, stable=True)
    kept = order[: sampling.top_k]
    probabilities = scaled[: sampling.top_k].softmax(-1)
    if sampling.top_p is not None:
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities * (before < sampling.top_p)
    # Not torch's generator on the CPU: of a seed it takes 32 bits alone (mt19937).
    noise = np.random.default_rng((sampling.seed, sequence, place)).random(len(logits_V))
    clocks_V = -torch.from_numpy(noise).log()
    return int(kept[(probabilities / clocks_V[kept]).argmax()])
