"""Every case does the work that its operation counts."""

import dataclasses
from collections.abc import Iterator
from itertools import chain

import pytest
import torch

from shardwright.run.measure.arena import Arena
from shardwright.run.measure.attention import decode_cases, prefill_cases
from shardwright.run.measure.bench import Case
from shardwright.run.measure.experts import _grouped, _one_by_one, experts_cases
from shardwright.run.measure.gemm import gemm_cases
from shardwright.run.measure.small import memory_cases, small_cases
from shardwright.steps.operation import Attention, Gemm, GroupedExperts

MIB = 1 << 20


class Counting(Arena):
    """An arena that remembers the bytes that were taken."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"), 32 * MIB)
        self.taken = 0

    def take(self, *shape: int, dtype: torch.dtype) -> torch.Tensor:
        part = super().take(*shape, dtype=dtype)
        self.taken += part.nbytes
        return part


def every_case() -> Iterator[Case]:
    for dtype in ("bf16", "fp32"):
        for cases in (gemm_cases, prefill_cases, decode_cases, experts_cases, small_cases):
            yield from cases(dtype)
    yield from memory_cases()


def own_bytes(case: Case) -> float:
    """Of the operands, as the operation's fields have them."""
    match case.operation:
        case Gemm() as gemm:
            return gemm.weight_bytes * (gemm.m * gemm.k + gemm.n * gemm.k)
        case Attention() as attention:
            element = attention.row_bytes / (2 * attention.kv_heads * attention.qk_dim)
            queries = attention.sequences * attention.query_tokens * attention.heads * attention.qk_dim
            return float(attention.bytes + queries * element)
        case GroupedExperts() as experts:
            return float(
                experts.moved_weight_bytes + experts.rows * experts.hidden * experts.activation_bytes
            )
    raise AssertionError(case)


def test_operands_are_those_that_the_operation_counts() -> None:
    arena, checked = Counting(), 0
    for case in chain(gemm_cases("bf16"), prefill_cases("fp32"), decode_cases("bf16"), experts_cases("bf16")):
        if case.operation.bytes < 4 * MIB:
            arena.taken = 0
            case.ready(arena)
            assert arena.taken == own_bytes(case), case.operation
            checked += 1
    assert checked > 100


@torch.no_grad()
def test_the_smallest_case_of_each_shape_runs() -> None:
    small = [case for case in every_case() if case.operation.bytes < 4 * MIB and case.operation.flops < 1e7]
    small.sort(key=lambda case: -float(case.operation.bytes))
    kinds = {(type(case.operation).__name__, case.shape): case for case in small}
    assert {kind for kind, _ in kinds} == {"Gemm", "Attention", "GroupedExperts", "Small"}
    arena = Counting()
    for case in kinds.values():
        result = case.ready(arena)()
        assert isinstance(result, torch.Tensor)
        assert result.isfinite().all()


def test_cases_differ() -> None:
    found = [dataclasses.astuple(case.operation) + case.shape for case in gemm_cases("bf16")]
    found += [dataclasses.astuple(case.operation) + case.shape for case in decode_cases("bf16")]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("each", [1, 5])
def test_one_kernel_and_one_by_one_agree(each: int) -> None:
    torch.manual_seed(0)
    rows, gate_up, down = torch.randn(3 * each, 32), torch.randn(3, 2 * 16, 32), torch.randn(3, 32, 16)
    operands = [tensor.bfloat16() for tensor in (rows, gate_up, down)]
    expected = _one_by_one(*(tensor.float() for tensor in operands))
    for run in (_grouped, _one_by_one):
        error = (run(*operands).float() - expected).abs().max() / expected.abs().max()
        assert error < 0.02
