"""How wide a predicted figure must be stated, and why.

What an operator may be off by its own law's errors on shapes that no fit saw; the rest by what stands between
operators and the figure (constants.yaml). Causes are independent: the squares of their ln(width) add.
"""

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Literal

from shardwright.cluster.cluster import Cluster
from shardwright.cost.clock import Range
from shardwright.cost.constants import constants
from shardwright.cost.profile import Distance, Profile, profile_for

Seen = Literal["step", "tpot", "ttft"]
"""By the engine, or by a client: its host and its queue are then in it."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """A figure times low to a figure times high holds it nine times of ten. basis: what that rests on."""

    low: float
    high: float
    basis: str


def reach_of(
    cluster: Cluster,
    profile: Profile | None,
    gpus_per_copy: int,
    pp: int,
    operators: Range,
    *,
    seen: Seen = "step",
) -> Reach:
    """Of a time. profile: of one's own, None the shipped one; operators: of the sum of the operators."""
    own, distance = (profile, "measured") if profile is not None else profile_for(cluster.device)
    wide = constants().intervals
    causes = [(wide.composition, f"operators of {own.device} ({own.tool}, {own.date}), measured alone")]
    far: dict[Distance, float] = {
        "same family": wide.same_family,
        "same vendor": wide.same_vendor,
        "other vendor": wide.other_vendor,
    }
    if distance in far:
        causes.append((far[distance], f"carried to {cluster.device.name} by data sheet ({distance})"))
    if gpus_per_copy > cluster.gpus_per_node:
        causes.append((wide.several_nodes, "no multi-node measurement behind it"))
    if pp > 1:
        causes.append((wide.pipeline, "no measured row with PP"))
    if seen != "step":
        causes.append((wide.tpot if seen == "tpot" else wide.ttft, "not fitted to serving rows"))
    rest = sum(log(factor) ** 2 for factor, _ in causes)
    return Reach(
        low=exp(-sqrt(rest + log(max(operators.low, 0.05)) ** 2)),
        high=exp(sqrt(rest + log(operators.high) ** 2)),
        basis="; ".join(reason for _, reason in causes),
    )
