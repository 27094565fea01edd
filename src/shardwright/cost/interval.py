"""How wide a predicted figure must be stated, and why.

A step of the devices: what an operator may be off by its own law's errors on shapes that no fit saw, and
what stands between operators and step (constants.yaml). What a client sees: by measured serving rows of
models that no fit saw (software.yaml). Causes are independent: the squares of their ln(width) add.
"""

from dataclasses import dataclass
from math import exp, log, sqrt

from shardwright.cluster.cluster import Cluster
from shardwright.cost.clock import Range
from shardwright.cost.constants import constants
from shardwright.cost.profile import Distance, Profile, profile_for
from shardwright.cost.software import Metric, Pace, ServingProfile, Software, spread_of


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
) -> Reach:
    """Of a step of the devices. profile: of one's own, None the shipped one; operators: of their sum."""
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
    return _joined(operators.low, operators.high, [*causes, *_unmeasured(cluster, gpus_per_copy, pp)])


def client_reach(
    measured: ServingProfile,
    metric: Metric,
    software: Software,
    pace: Pace,
    *,
    cluster: Cluster,
    gpus_per_copy: int,
    pp: int,
) -> Reach:
    """Of what a client sees. software, pace: what stands for the engine and the device in `measured`."""
    spread = spread_of(measured, metric, software, pace)
    lacking = "" if spread.left_out == "model" else f", none of this {spread.left_out}"
    said = f"{spread.rows} configurations of {measured.source}, the model left out{lacking}"
    causes = [(1.0, said), *_unmeasured(cluster, gpus_per_copy, pp)]
    return _joined(spread.low, spread.high, causes)


def _unmeasured(cluster: Cluster, gpus_per_copy: int, pp: int) -> list[tuple[float, str]]:
    """What no measured row has: (width, reason)."""
    wide, causes = constants().intervals, []
    if gpus_per_copy > cluster.gpus_per_node:
        causes.append((wide.several_nodes, "no multi-node measurement behind it"))
    if pp > 1:
        causes.append((wide.pipeline, "no measured row with PP"))
    return causes


def _joined(low: float, high: float, causes: list[tuple[float, str]]) -> Reach:
    rest = sum(log(factor) ** 2 for factor, _ in causes)
    return Reach(
        low=exp(-sqrt(rest + log(max(low, 0.05)) ** 2)),
        high=exp(sqrt(rest + log(high) ** 2)),
        basis="; ".join(reason for _, reason in causes),
    )
