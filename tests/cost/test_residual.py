"""The residual table: what it returns at, between and beyond its knots."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shardwright.calibrate.fit import corners
from shardwright.cost.residual import UNIT, Axis, Residual

TABLE = Residual(
    axes=(Axis(feature="m", knots=(0, 2, 3)), Axis(feature="k", knots=(4, 8))),
    values=(0, 100, 200, 300, -400, 500),
)


@pytest.mark.parametrize(
    ("m", "k", "ln"),
    [
        (1, 16, 0.0),
        (1, 256, 0.1),
        (8, 256, 0.5),
        (2, 16, 0.1),  # half-way between 0 and 0.2 in log2
        (2, 64, 0.15),  # half-way in both: mean of four corners
        (2**2.5, 16, -0.1),
        (0.25, 1, 0.0),  # beyond the knots: as at the outer ones
        (64, 4096, 0.5),
    ],
)
def test_multilinear_between_knots_and_constant_beyond(m: float, k: float, ln: float) -> None:
    assert np.log(TABLE.factor({"m": m, "k": k})) == pytest.approx(ln, abs=1e-12)


@given(
    st.lists(st.floats(0.1, 100), min_size=1, max_size=5),
    st.floats(1, 1000),
)
def test_arrays_are_their_entries_one_by_one(ms: list[float], k: float) -> None:
    together = TABLE.factor({"m": np.array(ms), "k": k})
    assert np.shape(together) == (len(ms),)
    assert together == pytest.approx([TABLE.factor({"m": m, "k": k}) for m in ms], rel=1e-12)
    assert np.all((together >= np.exp(-0.4) - 1e-12) & (together <= np.exp(0.5) + 1e-12))


def test_a_table_without_a_value_for_each_knot_is_refused() -> None:
    with pytest.raises(ValidationError, match="6 knots, the table 5 values"):
        Residual(axes=TABLE.axes, values=(0, 1, 2, 3, 4))
    with pytest.raises(ValidationError, match="knots of m must rise"):
        Axis(feature="m", knots=(0, 0))


@given(
    st.lists(st.tuples(*[st.sampled_from((0.5, 1, 3, 4, 6.5, 8, 16, 100, 256, 999))] * 2), min_size=1),
)
def test_the_table_is_the_sum_of_the_corners_around_each_place(places: list[tuple[float, float]]) -> None:
    """As fits see it: a sum of the values of the knots on both sides, weighted by what is near."""
    ms, ks = (np.array(column) for column in zip(*places, strict=True))
    knots, weights = corners([ms, ks], TABLE.axes)
    summed = (np.array(TABLE.values)[knots] * UNIT * weights).sum(axis=0)
    assert np.log(TABLE.factor({"m": ms, "k": ks})) == pytest.approx(summed, abs=1e-12)
