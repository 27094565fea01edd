"""How likely each row of a table meets the targets of what clients see, by measured serving.

Errors are common to the figures: an engine that is slower than predicted misses TPOT, TTFT and throughput
together. So all targets are met as likely as the least likely one; to multiply would count one error thrice.
"""

from itertools import product
from math import erf, sqrt

import numpy as np

from shardwright.cost.interval import client_reach
from shardwright.cost.software import Metric
from shardwright.plan.deployment import Deployment
from shardwright.search.cases import Floats
from shardwright.search.engine import measured_as, serving_of
from shardwright.search.table import Table
from shardwright.units import QUANTILE_95
from shardwright.workload.workload import CLIENT_TARGETS

MEASURED_AS: dict[str, tuple[Metric, str, float, bool]] = {
    "tpot_ms": ("tpot", "tpot_s", 1e-3, True),
    "ttft_ms": ("ttft", "ttft_s", 1e-3, True),
    "throughput_tokens_per_s": ("throughput", "throughput_tokens_per_s", 1.0, False),
}
"""Target -> the metric by which it was measured, its column, its unit in SI, and whether it is the most."""

TINY = 1e-12
FARTHEST = 6.0
NORMAL = np.linspace(-FARTHEST, FARTHEST, 2401)
SHARE_BELOW = np.array([0.5 * (1 + erf(z / sqrt(2))) for z in NORMAL])
"""Of the normal distribution, at NORMAL standard deviations."""


def likely(deployment: Deployment, table: Table) -> Floats:
    """That a row meets the least likely target, as Estimate.probability_up_to has each of them."""
    found = np.ones(len(table))
    for name in CLIENT_TARGETS:
        target = getattr(deployment.targets, name)
        if target is None:
            continue
        metric, column, unit, is_most = MEASURED_AS[name]
        low, high = _reaches(deployment, table, metric)
        far = np.log(target * unit / np.maximum(table.columns[column], TINY))
        width = np.where(far > 0, np.log(high), -np.log(low))
        deviations = np.divide(far, width, out=np.sign(far) * FARTHEST, where=width > 0) * QUANTILE_95
        share = np.interp(deviations, NORMAL, SHARE_BELOW)
        found = np.minimum(found, share if is_most else 1 - share)
    return found


def _reaches(deployment: Deployment, table: Table, metric: Metric) -> tuple[Floats, Floats]:
    """(low, high) of each row: they differ by whether a copy spans nodes and whether it is a pipeline."""
    cluster, pp = deployment.cluster, table.degrees("pp")
    size = table.num_gpus // table.degrees("copies")
    low, high = np.empty(len(table)), np.empty(len(table))
    for spans, piped in product((False, True), repeat=2):
        rows = ((size > cluster.gpus_per_node) == spans) & ((pp > 1) == piped)
        reach = client_reach(
            serving_of(deployment),
            metric,
            *measured_as(deployment),
            cluster=cluster,
            gpus_per_copy=cluster.gpus_per_node + spans,
            pp=1 + piped,
        )
        low[rows], high[rows] = reach.low, reach.high
    return low, high
