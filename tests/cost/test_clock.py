"""How far measured seconds lie from predicted ones: of an operation, a program, a step as it is printed."""

from math import exp, log, sqrt

import pytest

from shardwright.cluster.catalog import build_cluster
from shardwright.cost.clock import Range, operation_range, operation_seconds, program_range
from shardwright.cost.constants import constants
from shardwright.cost.gemm import gemm_features
from shardwright.cost.interval import reach_of
from shardwright.cost.law import choose
from shardwright.cost.price import wires_of
from shardwright.engine.catalog import ENGINES
from shardwright.layout.layout import Layout
from shardwright.steps.operation import AllReduce, Gemm, GroupedExperts, Small
from tests.samples import cluster

ON = wires_of(ENGINES["vllm"], cluster(), Layout(tp=8))
GEMM = Gemm(name="qkv", m=64, n=4096, k=4096, weight_dtype="bf16", weight_bytes=2)
LARGE = Gemm(name="up", m=4096, n=4096, k=4096, weight_dtype="bf16", weight_bytes=2)
EXPERTS = GroupedExperts(
    name="experts", rows=512, active=64, hidden=2048, width=768, weight_dtype="bf16", weight_bytes=2
)
SUM = AllReduce(name="sum", axis="tp", num_ranks=8, payload_bytes=2e6)
NORM = Small(name="norm", moved_bytes=1e6)
WIDE = constants().intervals


def test_an_operation_is_as_far_off_as_its_law_was_in_that_range() -> None:
    law = choose(ON.profile.gemm, "vllm", ("bf16",))
    for operation, number in ((GEMM, 0), (LARGE, -1)):
        band = law.band(gemm_features(operation))
        assert band == law.bands[number]
        assert operation_range(operation, ON) == Range(low=band.low, high=band.high)


def test_what_nobody_measured_is_stated_wide() -> None:
    assert operation_range(NORM, ON) == Range(low=1 / WIDE.unmeasured, high=WIDE.unmeasured)


@pytest.mark.parametrize("operation", [GEMM, LARGE, EXPERTS, SUM, NORM])
def test_a_program_of_one_operation_is_that_operation(operation: Gemm) -> None:
    alone, once = operation_range(operation, ON), program_range([operation] * 3, ON)
    assert (once.low, once.high) == pytest.approx((alone.low, alone.high))


def test_errors_of_a_family_add_and_families_are_independent() -> None:
    program = (GEMM, LARGE, EXPERTS, SUM, NORM)
    seconds = {operation.name: float(operation_seconds(operation, ON)) for operation in program}
    above = {op.name: seconds[op.name] * (operation_range(op, ON).high - 1) for op in program}
    total = sum(seconds.values())
    dense = above["qkv"] + above["up"]
    expected = sqrt(dense**2 + above["experts"] ** 2 + above["sum"] ** 2 + above["norm"] ** 2) / total
    assert program_range(program, ON).high == pytest.approx(1 + expected)


def test_a_collective_of_one_rank_is_nothing() -> None:
    alone = AllReduce(name="sum", axis="tp", num_ranks=1, payload_bytes=2e6)
    assert program_range([alone], ON) == Range(low=1.0, high=1.0)


OPERATORS = Range(low=0.9, high=1.15)


def test_a_step_joins_its_causes_as_independent() -> None:
    near = reach_of(cluster(), None, 8, 1, OPERATORS)
    assert near.high == pytest.approx(exp(sqrt(log(1.15) ** 2 + log(WIDE.composition) ** 2)))
    assert near.low == pytest.approx(exp(-sqrt(log(0.9) ** 2 + log(WIDE.composition) ** 2)))
    assert "H100-SXM-80GB" in near.basis


@pytest.mark.parametrize(
    ("gpu", "gpus", "pp", "said"),
    [
        ("H20-SXM-96GB", 8, 1, "carried to H20-SXM-96GB by data sheet (same family)"),
        ("MI300X-192GB", 8, 1, "carried to MI300X-192GB by data sheet (other vendor)"),
        ("H100-SXM-80GB", 16, 1, "no multi-node measurement behind it"),
        ("H100-SXM-80GB", 8, 2, "no measured row with PP"),
    ],
)
def test_far_from_what_was_measured_it_is_wider_and_says_so(gpu: str, gpus: int, pp: int, said: str) -> None:
    site, _ = build_cluster(gpu=gpu, nodes=2, gpus_per_node=8)
    near, far = reach_of(cluster(), None, 8, 1, OPERATORS), reach_of(site, None, gpus, pp, OPERATORS)
    assert far.high > near.high and far.low < near.low
    assert said in far.basis
