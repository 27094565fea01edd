"""Tables of experts: a known law is found again, and what is no expert block of ours is left out."""

from pathlib import Path

import numpy as np
import pytest

from shardwright.calibrate.experts import EXPERTS, beaten, experts_rows
from shardwright.calibrate.fit import fit_form
from shardwright.calibrate.score import scored
from tests.calibrate.samples import EXPERTS_TRUE, H100, MODELS, write_experts


def test_the_constants_are_found_again(tmp_path: Path) -> None:
    (rows,) = experts_rows(write_experts(tmp_path), H100)
    law = fit_form(EXPERTS, rows, H100)
    for name in EXPERTS.parameters:
        assert getattr(law, name) == pytest.approx(getattr(EXPERTS_TRUE, name), rel=0.03), name


def test_balanced_and_skewed_rows_are_scored_apart(tmp_path: Path) -> None:
    (rows,) = experts_rows(write_experts(tmp_path), H100)
    score = scored(EXPERTS, rows, H100)[1]
    assert set(score.parts) == {"balanced", "skewed"}
    assert len(np.unique(rows.shapes)) == len(MODELS)
    assert score.median < 0.05


def test_kernels_without_a_gate_are_not_read(tmp_path: Path) -> None:
    assert list(experts_rows(write_experts(tmp_path, kernel="moe_nongated"), H100)) == []


def test_a_row_slower_than_a_larger_problem_is_found() -> None:
    sizes = np.array([[8.0, 8], [16, 8], [16, 16], [4, 32]])
    seconds = np.array([1.6, 1.0, 1.2, 5.0])
    assert beaten(seconds, np.zeros(4, dtype=int), sizes).tolist() == [True, False, False, False]
    assert not beaten(seconds, np.arange(4), sizes).any()
