"""How wide a predicted figure must be stated: by distance from what the constants were fitted on."""

from shardwright.cluster.cluster import Cluster
from shardwright.cost.constants import constants

FITTED_VENDOR = "NVIDIA"


def interval(cluster: Cluster, gpus_per_copy: int, pp: int, *, prompt: bool = False) -> tuple[float, str]:
    """(multiplicative half-width of a 90 % interval, what it rests on) of TPOT, or of TTFT for `prompt`."""
    law = constants()
    wide = law.intervals
    factor = wide.ttft if prompt else wide.tpot
    reasons = ["operator constants, not fitted to serving rows"]
    if cluster.device.vendor != FITTED_VENDOR:
        factor *= wide.other_vendor
        reasons.append(f"carried from {law.fitted_on} to another vendor by data sheet")
    elif cluster.device.name != law.fitted_on:
        factor *= wide.other_device
        reasons.append(f"carried from {law.fitted_on} by data sheet")
    if gpus_per_copy > cluster.gpus_per_node:
        factor *= wide.several_nodes
        reasons.append("no multi-node measurement behind it")
    if pp > 1:
        factor *= wide.pipeline
        reasons.append("no measured row with PP")
    return factor, "; ".join(reasons)
