"""What the fit would say of models, devices and engines that it had never seen.

A group of configurations is left out, the numbers follow from the others (fit.refitted), and the group is
predicted by them: where its device, or its engine, is left out too, by the means that stand for unknown ones.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from shardwright.calibrate.measured.configuration import METRICS, Configuration
from shardwright.calibrate.measured.fit import Fit, log_errors, refitted
from shardwright.calibrate.measured.parameters import known_from
from shardwright.cost.software import Distance, Metric, ServingProfile, Spread
from shardwright.serving.times import Floats

SAME_ARCHITECTURE: Mapping[str, str] = {
    "deepseek-v3.1": "deepseek-v3/r1",
    "llama-4-maverick-17b-128e": "llama-4",
    "llama-4-scout-17b-16e": "llama-4",
    "mixtral-8x22b": "mixtral",
    "mixtral-8x7b": "mixtral",
    "mistral-7b-v0.3": "mistral-7b",
    "qwen1.5-7b": "qwen2-7b",
    "llama-7b": "llama-2-7b",
    "aquila-7b": "llama-2-7b",
}
"""Families of rows that are left out together."""

Group = Callable[[Configuration], str]


def family(row: Configuration) -> str:
    """The architecture of a configuration's model."""
    name = row.bench.case.row.arch_family or row.bench.case.model.name
    return SAME_ARCHITECTURE.get(name, name)


def device(row: Configuration) -> str:
    """The device of a configuration."""
    return row.bench.case.cluster.device.name


def engine(row: Configuration) -> str:
    """The software of a configuration."""
    return row.bench.case.software


LEFT_OUT: Mapping[Distance, Group] = {"model": family, "device": device, "engine": engine}


def left_out_errors(
    fitted: Sequence[Configuration],
    fit: Fit,
    group: Group,
    rows: Sequence[Configuration] | None = None,
) -> Floats:
    """ln(predicted / measured) of each row, its group left out of those fitted: (rows, METRICS).

    rows: those fitted by default. NaN where nothing else was fitted.
    """
    rows = fitted if rows is None else rows
    names, fitted_names = (np.array([group(row) for row in each]) for each in (rows, fitted))
    found = np.full((len(rows), len(METRICS)), np.nan)
    for name in np.unique(names):
        kept, out = fitted_names != name, names == name
        if kept.any():
            profile = told_by(fitted, fit, refitted(fit, kept), kept)
            found[out] = log_errors([row for row, is_out in zip(rows, out, strict=True) if is_out], profile)
    return found


def told_by(
    rows: Sequence[Configuration], fit: Fit, profile: ServingProfile, kept: Sequence[bool]
) -> ServingProfile:
    """The profile with what the kept rows tell of, and means for all else."""
    owners = [own for own, is_kept in zip(fit.owners, kept, strict=True) if is_kept]
    vendors = {row.bench.case.cluster.device.name: row.bench.case.cluster.device.vendor for row in rows}
    return known_from(profile, owners, vendors)


TAIL = 0.05
"""Share of measured figures beyond each end of an interval."""

MEASURED_BY: Mapping[Metric, str] = {
    "tpot": "tpot_s",
    "ttft": "ttft_s",
    "throughput": "output_tokens_per_s",
    "batch": "e2e_s",
}
"""Metric -> of configuration.METRICS."""


def spreads_of(errors: Mapping[Distance, Floats], weights: Floats) -> tuple[Spread, ...]:
    """The intervals that hold all but TAIL at each end, by what was left out, the nearest first: where the
    device or the engine is unknown, the model mostly is too, so that none is narrower than those before it.

    errors: of left_out_errors. weights: of each row; groups of many rows would else speak for all.
    """
    found = []
    for metric, name in MEASURED_BY.items():
        least, most = 0.0, 0.0
        for distance, table in errors.items():
            column = table[:, METRICS.index(name)]
            told = ~np.isnan(column)
            low, high = _quantiles(-column[told], weights[told])
            least, most = min(least, low), max(most, high)
            found.append(
                Spread(
                    metric=metric,
                    left_out=distance,
                    low=float(np.exp(least)),
                    high=float(np.exp(most)),
                    rows=int(told.sum()),
                )
            )
    return tuple(found)


def balanced(rows: Sequence[Configuration], group: Group = family) -> Floats:
    """Weights by which each group counts alike."""
    names = [group(row) for row in rows]
    count = Counter(names)
    return np.array([1 / count[name] for name in names])


def _quantiles(values: Floats, weights: Floats) -> tuple[float, float]:
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    low, high = np.searchsorted(share, (TAIL, 1 - TAIL))
    last = len(values) - 1
    return float(values[order][min(low, last)]), float(values[order][min(high, last)])


def coverage(rows: Sequence[Configuration], errors: Floats) -> Floats:
    """1 where a measured figure of a left-out model lies in the interval of all other models, else 0; NaN
    where nothing was measured: (rows, METRICS)."""
    names = np.array([family(row) for row in rows])
    weights = balanced(rows)
    inside = np.full(errors.shape, np.nan)
    for name in np.unique(names):
        mine = names == name
        for column in range(len(METRICS)):
            others = ~mine & ~np.isnan(errors[:, column])
            if others.any():
                low, high = _quantiles(-errors[others, column], weights[others])
                told = mine & ~np.isnan(errors[:, column])
                inside[told, column] = (-errors[told, column] >= low) & (-errors[told, column] <= high)
    return inside
