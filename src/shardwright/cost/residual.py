"""What a form misses: ln(measured / form), smoothed, on a small grid of features."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from shardwright.record import Record, Size

UNIT = 1e-3
"""Values are written as whole thousandths of ln."""

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


class Axis(Record):
    """One feature, and the places where the table has values: rising, in log2 of the feature."""

    feature: str
    knots: tuple[float, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _rising(self) -> "Axis":
        if any(low >= high for low, high in zip(self.knots, self.knots[1:], strict=False)):
            raise ValueError(f"knots of {self.feature} must rise")
        return self

    @cached_property
    def ends(self) -> Floats:
        """Where each knot's stretch begins, and infinity, where the last one's ends."""
        return np.array((*self.knots, np.inf))

    def between(self, feature: Size) -> tuple[Places, Places, Floats]:
        """The knots on the left and on the right of each value, and how much of the way the value has gone.

        A value on a knot, and one beyond all of them, has the same knot on both sides.
        """
        value = np.clip(np.log2(np.maximum(feature, 1e-9)), self.knots[0], self.knots[-1])
        left = np.asarray(self.ends.searchsorted(value, side="right") - 1)
        start = self.ends[left]
        share = np.asarray((value - start) / (self.ends[left + 1] - start))
        return left, left + (share > 0), share


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
    def _table(self) -> Floats:
        """One dim an axis."""
        return np.reshape(self.values, [len(axis.knots) for axis in self.axes]) * UNIT

    def factor(self, features: Mapping[str, Size]) -> Size:
        """measured / form where the features have these values (not their log2)."""
        table = self._table
        varying: list[tuple[Places, Places, Floats, int]] = []
        for axis in self.axes:
            left, right, share = axis.between(features[axis.feature])
            if left.ndim:
                varying.append((left, right, share, len(axis.knots)))
            else:  # what all layouts have in common leaves the table before they are looked up
                low, high = (table.take(place, axis=len(varying)) for place in (left, right))
                table = np.asarray(low + share * (high - low))
        factor: Size = np.exp(_looked_up(table.ravel(), np.intp(0), varying))
        return factor


def _looked_up(
    table: Floats, place: Places | np.intp, varying: Sequence[tuple[Places, Places, Floats, int]]
) -> Floats:
    """Values of the flat table, between the knots of the axes that are left; place: by those before."""
    if not varying:
        return table.take(place)
    (left, right, share, num_knots), *rest = varying
    low = _looked_up(table, place * num_knots + left, rest)
    if not share.any():  # all on knots, as powers of two are mostly
        return low
    high = _looked_up(table, place * num_knots + right, rest)
    return low + share * (high - low)
