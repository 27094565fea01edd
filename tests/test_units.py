"""Estimates: how likely a figure stays within a limit."""

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.units import Estimate, format_probability

VALUES = st.floats(1e-6, 1e6)
WIDTHS = st.floats(1.0001, 50)
FACTORS = st.floats(1e-3, 1e3)


def an_estimate(value: float, down: float, up: float) -> Estimate:
    return Estimate.between(value, 1 / down, up)


@given(VALUES, WIDTHS, WIDTHS)
def test_the_ends_of_an_interval_are_its_5_and_95_per_cent(value: float, down: float, up: float) -> None:
    figure = an_estimate(value, down, up)
    assert figure.probability_up_to(figure.low) == pytest.approx(0.05, abs=1e-6)
    assert figure.probability_up_to(figure.value) == pytest.approx(0.5, abs=1e-9)
    assert figure.probability_up_to(figure.high) == pytest.approx(0.95, abs=1e-6)


@given(VALUES, WIDTHS, WIDTHS, FACTORS, FACTORS)
def test_a_looser_limit_is_never_less_likely(
    value: float, down: float, up: float, one: float, other: float
) -> None:
    figure, (tight, loose) = an_estimate(value, down, up), sorted((one * value, other * value))
    low, high = figure.probability_up_to(tight), figure.probability_up_to(loose)
    assert 0 <= low <= high <= 1


@given(VALUES, WIDTHS, WIDTHS, FACTORS, FACTORS)
def test_the_unit_does_not_count(value: float, down: float, up: float, by: float, unit: float) -> None:
    figure = an_estimate(value, down, up)
    in_unit = figure.scaled(unit).probability_up_to(value * by * unit)
    assert in_unit == pytest.approx(figure.probability_up_to(value * by), abs=1e-6)


@given(VALUES, st.floats(1.01, 100))
def test_an_exact_figure_is_or_is_not(value: float, factor: float) -> None:
    figure = Estimate(value=value, low=value, high=value)
    assert figure.probability_up_to(value / factor) == 0
    assert figure.probability_up_to(value) == figure.probability_up_to(value * factor) == 1


@pytest.mark.parametrize(("limit", "likely"), [(0.0, 1.0), (1.0, 1.0), (-1.0, 0.0)])
def test_nothing_is_at_most_nothing(limit: float, likely: float) -> None:
    assert Estimate(value=0, low=0, high=0).probability_up_to(limit) == likely


def test_no_figure_above_0_is_at_most_0() -> None:
    assert an_estimate(1, 2, 2).probability_up_to(0) == 0


def test_one_standard_deviation_is_84_per_cent() -> None:
    """The 95 % quantile of the normal distribution is 1.6449 of them, by any table."""
    figure = an_estimate(10, 2, 3)
    assert figure.probability_up_to(10 * exp(log(3) / 1.6449)) == pytest.approx(0.8413, abs=1e-4)
    assert figure.probability_up_to(10 / exp(log(2) / 1.6449)) == pytest.approx(0.1587, abs=1e-4)


@given(st.floats(0, 1))
def test_no_probability_is_printed_as_certain(probability: float) -> None:
    text = format_probability(probability)
    assert text not in ("0 %", "100 %")
    if text[0] not in "<>":
        assert abs(float(text.removesuffix(" %")) / 100 - probability) <= 0.005 + 1e-9
