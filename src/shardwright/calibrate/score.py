"""How well a law does on shapes that it never saw, and how wide its interval must be.

Shapes are dealt into five parts. The rows of each part are predicted by a law that was fitted to the other
four; their interval is that of the held-out errors of the other four. The law that is kept is fitted to all
rows; its errors and its interval are those of all rows, each held out once.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shardwright.calibrate.fit import Kind, L, fit
from shardwright.calibrate.rows import Op, Rows
from shardwright.cluster.device import Device
from shardwright.cost.law import Band
from shardwright.record import Record

PARTS = 5

ENOUGH = 40
"""Fewer held-out rows than this make no quantile: the band takes those of all bands."""

INTERVAL = (5, 95)
"""Percentiles of what the rows are a sample of (Weibull's plotting positions): few rows, wide ends."""


class Score(Record):
    """Of rows that a law never saw. covered: the share of them inside the interval that other rows set."""

    rows: int
    median: float
    p90: float
    covered: float
    bands: tuple[Band, ...]
    parts: dict[str, tuple[float, float]]
    """Kind of rows -> (median, p90), where there are several."""


def scored(
    kind: Kind[L, Op], rows: Rows[Op], device: Device, *, table: bool = True
) -> tuple[L, Score | None]:
    """The law of all rows, with its errors on shapes that were held out.

    One shape alone cannot be held out: the bands are then those of the fit itself, and there is no score.
    """
    part, kept = dealt(rows.shapes), fit(kind, rows, device, table=table)
    if not part.any():
        return kept.model_copy(
            update={"bands": bands_of(*ratios(kind, rows, device, kept), kind.edges)}
        ), None
    ratio, scale = np.ones(len(rows)), np.ones(len(rows))
    for number in np.unique(part):
        held = part == number
        law = fit(kind, rows.where(~held), device, table=table)
        ratio[held], scale[held] = ratios(kind, rows.where(held), device, law)
    inside = np.zeros(len(rows), dtype=bool)
    for number in np.unique(part):
        held = part == number
        inside |= held & _inside(ratio, scale, kind.edges, bands_of(ratio[~held], scale[~held], kind.edges))
    bands = bands_of(ratio, scale, kind.edges)
    return kept.model_copy(update={"bands": bands}), _score(rows, ratio, inside, bands)


def dealt(shapes: NDArray[np.int64], seed: int = 0) -> NDArray[np.int64]:
    """The part of each row, all rows of a shape in one."""
    kinds, place = np.unique(shapes, return_inverse=True)
    parts = np.arange(len(kinds)) % PARTS
    return np.random.default_rng(seed).permutation(parts)[place]


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
    median, p90 = _errors(rows)
    low, high = np.percentile(rows, INTERVAL, method="weibull")
    return Band(
        upto=upto,
        rows=int(np.count_nonzero(where)),
        median=_digits(median),
        p90=_digits(p90),
        low=_digits(min(low, 1.0)),
        high=_digits(max(high, 1.0)),
    )


def held_against(kind: Kind[L, Op], rows: Rows[Op], device: Device, law: L) -> Score:
    """The law's errors on rows that had no part in it; covered: by the intervals of its own bands."""
    ratio, scale = ratios(kind, rows, device, law)
    inside = _inside(ratio, scale, kind.edges, law.bands)
    return _score(rows, ratio, inside, bands_of(ratio, scale, kind.edges))


def _inside(
    ratio: NDArray[np.float64],
    scale: NDArray[np.float64],
    edges: Sequence[float],
    intervals: Sequence[Band],
) -> NDArray[np.bool_]:
    inside = np.zeros(len(ratio), dtype=bool)
    for band, where in zip(intervals, _by_band(scale, edges), strict=True):
        inside |= where & (ratio >= band.low) & (ratio <= band.high)
    return inside


def _score(
    rows: Rows[Op], ratio: NDArray[np.float64], inside: NDArray[np.bool_], bands: tuple[Band, ...]
) -> Score:
    names = () if rows.parts is None else np.unique(rows.parts).tolist()
    median, p90 = _errors(ratio)
    return Score(
        rows=len(ratio),
        median=median,
        p90=p90,
        covered=float(np.mean(inside)),
        bands=bands,
        parts={name: _errors(ratio[rows.parts == name]) for name in names},
    )


def _errors(ratio: NDArray[np.float64]) -> tuple[float, float]:
    """(median, 90th percentile) of |predicted / measured - 1|."""
    error = np.abs(1 / ratio - 1)
    return float(np.median(error)), float(np.percentile(error, 90))


def _digits(value: float) -> float:
    return float(f"{value:.3g}")
