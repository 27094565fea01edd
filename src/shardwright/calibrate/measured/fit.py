"""A serving profile fitted to measured configurations: what hosts cost, and the pace of devices.

Each number has a log-normal prior around what is believed without the rows. The most probable numbers are
found by Gauss-Newton steps on ln(predicted / measured), with Huber's loss: beyond a few per cent an error
counts in proportion to its size. A figure depends on one engine's host and one device's pace, so that one run
of all configurations tells the slope of a number for all engines, or all devices, at once; and what the fit
would be without some of the rows follows from the same slopes.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardwright.calibrate.measured.bench import Seen, run_bench
from shardwright.calibrate.measured.configuration import METRICS, Configuration, host_for
from shardwright.calibrate.measured.parameters import (
    TABLES,
    Owners,
    Place,
    moved,
    owners_of,
    places_of,
)
from shardwright.cost.software import ServingProfile
from shardwright.serving.times import Floats

ERRORS: Mapping[str, float] = {"tpot_s": 0.12, "ttft_s": 0.3, "output_tokens_per_s": 0.15, "e2e_s": 0.15}
"""How far a good prediction of each figure is off."""

WEIGHTS: Mapping[str, float] = {"tpot_s": 1.0, "ttft_s": 0.4, "output_tokens_per_s": 0.5, "e2e_s": 1.0}
"""A closed loop's throughput follows from its other two; TTFT hangs on a client's first instants."""

KNEE = 1.25
"""Errors beyond so many times ERRORS count in proportion, below by their square."""

SLOPE = 0.05
ROUNDS = 6
GOOD_ENOUGH = 2e-3
REWEIGHTED = 30
FARTHEST = 1.5
"""ln of what a number may be multiplied by in one round."""


@dataclass(frozen=True)
class Fit:
    """profile: after the last round. errors: (rows, METRICS), NaN where nothing was measured; slopes: of them
    by the logarithm of the number at each place: (rows, METRICS, places). theta: ln of each number over what
    was believed of it. width: of the priors, as a share of the usual."""

    profile: ServingProfile
    owners: Sequence[Owners]
    places: Sequence[Place]
    theta: Floats
    errors: Floats
    slopes: Floats
    width: float


def fit_serving(
    rows: Sequence[Configuration],
    believed: ServingProfile,
    *,
    width: float = 1.0,
    rounds: int = ROUNDS,
    fields: Collection[str] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Fit:
    """The numbers of the engines and devices that the rows speak of, as the rows have them.

    fields: those that are fitted, None all. width: 1 believes as little as HOST_WIDTHS and PACE_WIDTHS say,
    less believes more.
    """
    owners = [owners_of(row, believed) for row in rows]
    places = places_of(owners, fields)
    fit = _at(believed, np.zeros(len(places)), rows, owners, places, width)
    best = _loss(fit.errors, fit.theta, fit)
    for turn in range(rounds if places else 0):
        goal = solved(fit)
        for share in (1.0, 0.5, 0.25):
            step = share * (goal - fit.theta)
            profile = moved(fit.profile, places, step)
            found = _loss(log_errors(rows, profile), fit.theta + step, fit)
            if found < best:
                break
        else:
            break
        fit = _at(profile, fit.theta + step, rows, owners, places, width)
        say(f"round {turn + 1}: loss {found:.1f}, before {best:.1f}")
        before, best = best, found
        if before - best < GOOD_ENOUGH * before:
            break
    return fit


def solved(fit: Fit, among: NDArray[np.bool_] | None = None) -> Floats:
    """The most probable theta by the rows of a mask, all by default, as far as the slopes hold."""
    mask = np.ones(len(fit.errors), dtype=bool) if among is None else among
    slopes = fit.slopes[mask].reshape(-1, len(fit.places))
    errors = np.nan_to_num(fit.errors[mask]).ravel()
    scale, weights = (np.tile(column, int(mask.sum())) for column in (_column(ERRORS), _column(WEIGHTS)))
    precision = _precision(fit)
    by = np.zeros(len(fit.places))
    for _ in range(REWEIGHTED):
        left = errors + slopes @ by
        pull = weights / np.maximum(1.0, np.abs(left / scale) / KNEE) / scale**2
        curvature = slopes.T @ (pull[:, None] * slopes) + np.diag(precision)
        gradient = slopes.T @ (pull * left) + precision * (fit.theta + by)
        by = np.clip(by - 0.7 * np.linalg.solve(curvature, gradient), -FARTHEST, FARTHEST)
    return fit.theta + by


def refitted(fit: Fit, among: NDArray[np.bool_]) -> ServingProfile:
    """The profile as the rows of a mask alone would have it."""
    return moved(fit.profile, fit.places, solved(fit, among) - fit.theta)


def log_errors(rows: Sequence[Configuration], profile: ServingProfile) -> Floats:
    """ln(predicted / measured): (rows, METRICS), NaN where nothing was measured."""
    found = np.full((len(rows), len(METRICS)), np.nan)
    for index, row in enumerate(rows):
        seen = predicted(row, profile)
        for column, metric in enumerate(METRICS):
            value = getattr(seen, metric)
            if metric in row.measured and value:
                found[index, column] = np.log(value / row.measured[metric])
    return found


def predicted(row: Configuration, profile: ServingProfile) -> Seen:
    """What the clients of a configuration see by this profile."""
    return run_bench(row.bench, host_for(row.bench.case, profile))


def _at(
    profile: ServingProfile,
    theta: Floats,
    rows: Sequence[Configuration],
    owners: Sequence[Owners],
    places: Sequence[Place],
    width: float,
) -> Fit:
    """The errors of a profile, and their slopes."""
    errors = log_errors(rows, profile)
    slopes = np.zeros((len(rows), len(METRICS), len(places)))
    for side, (table, widths) in enumerate(TABLES.items()):
        for field in widths:
            alike = [index for index, at in enumerate(places) if (at.table, at.field) == (table, field)]
            if not alike:
                continue
            shifted = moved(profile, [places[index] for index in alike], np.full(len(alike), SLOPE))
            slope = np.nan_to_num((log_errors(rows, shifted) - errors) / SLOPE)
            for index in alike:
                mine = [own[side] == places[index].row for own in owners]
                slopes[mine, :, index] = slope[mine]
    return Fit(profile, owners, places, theta, errors, slopes, width)


def _loss(errors: Floats, theta: Floats, fit: Fit) -> float:
    z = np.abs(np.nan_to_num(errors)) / _column(ERRORS)
    huber = np.where(z < KNEE, z * z / 2, KNEE * (z - KNEE / 2))
    return float((_column(WEIGHTS) * huber).sum() + (_precision(fit) * theta**2).sum() / 2)


def _precision(fit: Fit) -> Floats:
    """Of the prior of each number's logarithm."""
    return np.array([(place.width * fit.width) ** -2.0 for place in fit.places])


def _column(table: Mapping[str, float]) -> Floats:
    return np.array([table[metric] for metric in METRICS])
