"""How the rows of one token spread over the ranks and nodes that hold its experts.

Every token is taken to choose its top_k experts uniformly, without one twice; under group-limited routing it
first chooses its groups. Skew moves load between ranks more than it changes how many of them a token needs.
"""

from dataclasses import dataclass
from math import comb

import numpy as np

from shardwright.model.spec import Experts
from shardwright.record import Size


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The experts of a layer and how many of them a token takes, as model/spec.py's Experts has them."""

    num_experts: int
    top_k: int
    groups: int = 1
    top_groups: int = 1

    def parts_hit(self, parts: Size) -> Size:
        """Of `parts` equal parts of the experts, in order: how many hold at least one expert of a token,
        expected.

        Without groups, parts x (1 - C(E - E / parts, k) / C(E, k)). With groups, the same among the experts
        of the chosen groups, over how many of a part's groups are chosen; a part within one group counts as a
        share of it. Source: DeepEP's node-limited dispatch, DeepSeek-V3 (arXiv 2412.19437, section 2.1.2).

        >>> deepseek_v3 = Spread(num_experts=256, top_k=8, groups=8, top_groups=4)
        >>> [round(float(deepseek_v3.parts_hit(nodes)), 2) for nodes in (1, 2, 4, 8)]
        [1.0, 1.93, 2.93, 3.63]
        """
        parts = np.asarray(parts, dtype=float)
        in_play = self.num_experts // self.groups * self.top_groups
        held = np.maximum(1, self.groups / parts)
        missed: Size = np.zeros_like(parts)
        for chosen in range(self.top_groups + 1):
            ways = _choose(held, chosen) * _choose(self.groups - held, self.top_groups - chosen)
            own = chosen / held * self.num_experts / parts
            missed = missed + ways / comb(self.groups, self.top_groups) * _none_of(own, in_play, self.top_k)
        return parts * (1 - missed)


def spread_of(experts: Experts) -> Spread:
    """The routing of a model's experts."""
    return Spread(
        num_experts=experts.num_experts,
        top_k=experts.top_k,
        groups=experts.groups,
        top_groups=experts.top_groups,
    )


def _choose(of: Size, chosen: int) -> Size:
    """The binomial coefficient; 0 where there are fewer than are chosen."""
    ways: Size = np.ones_like(np.asarray(of, dtype=float))
    for taken in range(chosen):
        ways = ways * np.maximum(of - taken, 0) / (taken + 1)
    return ways


def _none_of(own: Size, of: int, chosen: int) -> Size:
    """The probability that `chosen` of `of` things, no one twice, are none of `own` of them."""
    left: Size = np.ones_like(np.asarray(own, dtype=float))
    for taken in range(chosen):
        left = left * np.maximum(of - own - taken, 0) / (of - taken)
    return left
