"""Operator forms against measured rows, and their limits."""

import numpy as np
import pytest

from shardwright.cost.constants import constants
from shardwright.cost.gemm import gemm_seconds
from shardwright.cost.law import choose, pnorm
from shardwright.cost.profile import read_profile
from shardwright.steps.operation import Gemm
from tests.samples import cluster

H100 = cluster().device
LAW = constants()
PROFILE = read_profile("H100-SXM-80GB")
GEMM = choose(PROFILE.gemm, "vllm", ("bf16",))
# Rows of aiconfigurator-core 0.12.0 (H100, vLLM 0.24.0, bf16).


def test_gemm_row() -> None:
    row = Gemm(name="", m=16, n=4096, k=4096, weight_dtype="bf16", weight_bytes=2)
    assert float(gemm_seconds(row, H100, GEMM)) == pytest.approx(15.5e-6, rel=0.05)


def test_pnorm_is_at_least_the_larger_and_at_most_the_sum() -> None:
    a, b = np.array([1.0, 5.0, 0.0]), np.array([2.0, 5.0, 0.0])
    joined = np.asarray(pnorm(4.4, a, b))
    assert (joined >= np.maximum(a, b)).all() and (joined[:2] <= (a + b)[:2]).all()
