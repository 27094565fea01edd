"""What a form misses: ln(measured / form), smoothed, on a small grid of features."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from shardwright.record import Record, Size

UNIT = 1e-3
"""Values are written as whole thousandths of ln."""


class Axis(Record):
    """One feature, and the places where the table has values: rising, in log2 of the feature."""

    feature: str
    knots: tuple[float, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _rising(self) -> "Axis":
        if any(low >= high for low, high in zip(self.knots, self.knots[1:], strict=False)):
            raise ValueError(f"knots of {self.feature} must rise")
        return self


class Residual(Record):
    """Multilinear between the knots of its axes, constant beyond them. The last axis runs fastest."""

    axes: tuple[Axis, ...] = Field(min_length=1)
    values: tuple[int, ...]

    @model_validator(mode="after")
    def _one_a_knot(self) -> "Residual":
        size = int(np.prod([len(axis.knots) for axis in self.axes]))
        if len(self.values) != size:
            raise ValueError(f"the axes have {size} knots, the table {len(self.values)} values")
        return self

    @cached_property
    def _table(self) -> NDArray[np.float64]:
        return np.array(self.values, dtype=float) * UNIT

    @cached_property
    def _knots(self) -> tuple[NDArray[np.float64], ...]:
        return tuple(np.array(axis.knots) for axis in self.axes)

    def factor(self, features: Mapping[str, Size]) -> Size:
        """measured / form where the features have these values (not their log2)."""
        columns = [np.asarray(features[axis.feature], dtype=float) for axis in self.axes]
        places, weights = corners(columns, self._knots)
        factor: Size = np.exp((self._table[places] * weights).sum(axis=0))
        return factor


def corners(
    features: list[NDArray[np.float64]], knots: tuple[NDArray[np.float64], ...]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The knots around each point, as places in the flat table, and how much each of them counts.

    Both have one first dim over the corners, then the shape of the features. There are two corners an axis;
    one where all points stand on knots, as degrees of parallelism and sizes of a model mostly do.
    """
    num_dims = max(feature.ndim for feature in features)
    places = np.zeros((1,) * (num_dims + 1), dtype=np.int64)
    weights = np.ones((1,) * (num_dims + 1))
    for feature, at in zip(features, knots, strict=True):
        value = np.clip(np.log2(np.maximum(feature, 1e-9)), at[0], at[-1])
        left = np.clip(np.searchsorted(at, value, side="right") - 1, 0, len(at) - 2)
        share = (value - at[left]) / (at[left + 1] - at[left])
        place = places * len(at) + left
        on_right = share == 1
        if (on_right | (share == 0)).all():
            places = place + on_right
        else:
            places = np.concatenate((place, place + 1))
            weights = np.concatenate((weights * (1 - share), weights * share))
    return places, weights
