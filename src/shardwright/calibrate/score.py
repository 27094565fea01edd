"""How well a law does on shapes that it never saw, and how wide its interval must be.

Shapes are dealt into three parts: 60 % fit the law, 20 % set the width of its interval, 20 % score both. The
law that is kept is fitted to all rows; its errors and its interval are those of the parts held out.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shardwright.calibrate.fit import Kind, L, fit
from shardwright.calibrate.rows import Op, Rows
from shardwright.cluster.device import Device
from shardwright.cost.law import Band
from shardwright.record import Record

FITTED, WIDTH = 0.6, 0.8
"""Where the first part ends, and the second."""

ENOUGH = 40
"""Fewer held-out rows than this make no quantile: the band takes those of all bands."""

INTERVAL = (5, 95)


class Score(Record):
    """Of rows that a law never saw. covered: the share of them inside the interval that other rows set."""

    rows: int
    median: float
    p90: float
    covered: float
    bands: tuple[Band, ...]


def scored(kind: Kind[L, Op], rows: Rows[Op], device: Device, *, table: bool = True) -> tuple[L, Score]:
    """The law of all rows with its held-out errors, and the score of the last part."""
    part = dealt(rows.shapes)
    law = fit(kind, rows.where(part == 0), device, table=table)
    ratio, scale = ratios(kind, rows, device, law)
    width, last = part == 1, part == 2
    score = _score(ratio[last], scale[last], kind.edges, bands_of(ratio[width], scale[width], kind.edges))
    held = width | last
    bands = bands_of(ratio[held], scale[held], kind.edges)
    kept = fit(kind, rows, device, table=table)
    return kept.model_copy(update={"bands": bands}), score


def dealt(shapes: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """The part of each row: 0 to fit, 1 for the width, 2 to score. All rows of a shape are in one part."""
    draw = np.random.default_rng(seed).permutation(int(shapes.max()) + 1) / (int(shapes.max()) + 1)
    return np.searchsorted([FITTED, WIDTH], draw, side="right")[shapes]


def ratios(
    kind: Kind[L, Op], rows: Rows[Op], device: Device, law: L
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """measured / predicted of each row, and the feature that tells its band."""
    predicted = np.asarray(kind.seconds(rows.operation, device, law), dtype=float)
    scale = np.broadcast_to(np.asarray(kind.features(rows.operation)[kind.scale], float), predicted.shape)
    return rows.seconds / predicted, scale


def bands_of(
    ratio: NDArray[np.float64], scale: NDArray[np.float64], edges: Sequence[float]
) -> tuple[Band, ...]:
    """The errors of each band, and the interval that holds 90 % of its rows."""
    return tuple(
        _band(ratio, where, upto) for where, upto in zip(_by_band(scale, edges), (*edges, None), strict=True)
    )


def _by_band(scale: NDArray[np.float64], edges: Sequence[float]) -> list[NDArray[np.bool_]]:
    number = np.searchsorted(np.array(edges), scale, side="left")
    return [number == band for band in range(len(edges) + 1)]


def _band(ratio: NDArray[np.float64], where: NDArray[np.bool_], upto: float | None) -> Band:
    rows = ratio[where] if np.count_nonzero(where) >= ENOUGH else ratio
    error = np.abs(1 / rows - 1)
    low, high = np.percentile(rows, INTERVAL)
    return Band(
        upto=upto,
        rows=int(np.count_nonzero(where)),
        median=_digits(np.median(error)),
        p90=_digits(np.percentile(error, 90)),
        low=_digits(min(low, 1.0)),
        high=_digits(max(high, 1.0)),
    )


def held_against(kind: Kind[L, Op], rows: Rows[Op], device: Device, law: L) -> Score:
    """The law's errors on rows that had no part in it; covered: by the intervals of its own bands."""
    ratio, scale = ratios(kind, rows, device, law)
    return _score(ratio, scale, kind.edges, law.bands)


def _score(
    ratio: NDArray[np.float64],
    scale: NDArray[np.float64],
    edges: Sequence[float],
    intervals: Sequence[Band],
) -> Score:
    inside = np.zeros(len(ratio), dtype=bool)
    for band, where in zip(intervals, _by_band(scale, edges), strict=True):
        inside |= where & (ratio >= band.low) & (ratio <= band.high)
    error = np.abs(1 / ratio - 1)
    return Score(
        rows=len(ratio),
        median=float(np.median(error)),
        p90=float(np.percentile(error, 90)),
        covered=float(np.mean(inside)),
        bands=bands_of(ratio, scale, edges),
    )


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
