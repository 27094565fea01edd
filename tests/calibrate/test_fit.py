"""A law is found again in rows that it made; its errors are those of shapes that no fit saw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shardwright.calibrate.fit import fit, fit_form
from shardwright.calibrate.gemm import PLAIN, gemm_rows
from shardwright.calibrate.rows import Rows, shape_numbers
from shardwright.calibrate.score import dealt, ratios, scored
from shardwright.steps.operation import Gemm
from tests.calibrate.samples import H100, TRUE, write_gemm

CONSTANTS = ("t0", "ec", "em", "k0", "power")


def rows_of(gpu: Path) -> Rows[Gemm]:
    (rows,) = gemm_rows(gpu, H100)
    return rows


def test_the_constants_of_exact_rows_are_found(tmp_path: Path) -> None:
    law = fit_form(PLAIN, rows_of(write_gemm(tmp_path)), H100)
    assert [getattr(law, name) for name in CONSTANTS] == pytest.approx(
        [getattr(TRUE, name) for name in CONSTANTS], rel=0.01
    )


def test_a_table_takes_up_what_the_form_misses(tmp_path: Path) -> None:
    """Rows with m from 64 to 256 are 30 % slower than any constants of the form can say."""
    rows = rows_of(write_gemm(tmp_path))
    hump = np.where((rows.operation.m >= 64) & (rows.operation.m <= 256), 1.3, 1.0)
    slower = replace(rows, seconds=rows.seconds * hump)
    form, whole = fit(PLAIN, slower, H100, table=False), fit(PLAIN, slower, H100)
    without, with_table = (np.abs(ratios(PLAIN, slower, H100, law)[0] - 1) for law in (form, whole))
    assert np.median(without) > 0.03
    assert np.median(with_table) < 0.01
    assert without.max() > 0.25
    assert with_table.max() < 0.1


def test_a_shape_is_on_one_side_only(tmp_path: Path) -> None:
    rows = rows_of(write_gemm(tmp_path))
    part = dealt(rows.shapes)
    for shape in np.unique(rows.shapes):
        assert len(np.unique(part[rows.shapes == shape])) == 1
    shares = np.bincount(part) / len(part)
    assert shares == pytest.approx([0.2] * 5, abs=0.02)


def test_errors_are_those_of_shapes_that_were_held_out(tmp_path: Path) -> None:
    """Noise that belongs to a shape: a fit that saw it would know it, one that did not cannot."""
    rows = rows_of(write_gemm(tmp_path))
    of_shape = np.random.default_rng(2).normal(0, 0.1, rows.shapes.max() + 1)
    noisy = replace(rows, seconds=rows.seconds * np.exp(of_shape[rows.shapes]))
    law, score = scored(PLAIN, noisy, H100)
    assert score.median > 0.6745 * 0.1 * 0.9
    assert score.p90 > 1.645 * 0.1 * 0.9
    assert all(band.low < 0.93 and band.high > 1.07 for band in law.bands)


def test_the_interval_holds_nine_rows_of_ten(tmp_path: Path) -> None:
    score = scored(PLAIN, rows_of(write_gemm(tmp_path, noise=0.08)), H100)[1]
    assert 0.85 <= score.covered <= 0.95
    assert score.median == pytest.approx(0.054, abs=0.01)  # of |N(0, 0.08)|: 0.6745 x 0.08


def test_equal_columns_are_one_shape() -> None:
    numbers = shape_numbers(np.array([1.0, 2, 1, 2]), np.array([5.0, 5, 5, 6]))
    assert numbers[0] == numbers[2]
    assert len(set(numbers.tolist())) == 3
