"""Short memory-bound kernels, and the memory itself: one copy, one read."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from shardwright.model.dtype import BITS, Dtype
from shardwright.run.measure.arena import Arena
from shardwright.run.measure.bench import Case
from shardwright.run.measure.dtypes import TORCH
from shardwright.steps.operation import Small

ROWS = (1, 4, 16, 64, 256, 1024, 4096)
WIDTHS = (512, 768, 1024, 2048, 4096, 5120, 8192)

LONG_BYTES = tuple(1 << power for power in (24, 25, 26, 27))
"""Of the memory's own rate: beyond any cache, and short enough to be timed often."""


def small_cases(dtype: Dtype) -> Iterator[Case]:
    """A residual sum with its norm, a rotation, and a gated activation, over rows of a model's width."""
    for width in WIDTHS:
        for rows in ROWS:
            yield _case(_sum_and_norm, (rows, width), dtype, operands=2, moved=4)
            yield _case(_rotation, (rows, width), dtype, operands=3, moved=2)
            yield _case(_activation, (rows, width), dtype, operands=2, moved=3)


def memory_cases() -> Iterator[Case]:
    """A long copy, and a long read."""
    for num_bytes in LONG_BYTES:
        shape = (1, num_bytes // 4)
        yield _case(lambda source, target: target.copy_(source), shape, "fp32", operands=2, moved=2)
        yield _case(lambda source: source.sum(), shape, "fp32", operands=1, moved=1)


def _sum_and_norm(rows: Tensor, residual: Tensor) -> Tensor:
    return F.rms_norm(rows + residual, rows.shape[-1:])


def _rotation(rows: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    left, right = rows.chunk(2, dim=-1)
    return rows * cosines + torch.cat((-right, left), dim=-1) * sines


def _activation(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


def _case(
    call: Callable[..., Tensor], shape: tuple[int, int], dtype: Dtype, *, operands: int, moved: int
) -> Case:
    """call: of so many tensors of one shape. moved: how many of them a fused kernel would read and write."""

    def ready(arena: Arena) -> Callable[[], object]:
        taken = [arena.take(*shape, dtype=TORCH[dtype]) for _ in range(operands)]
        return lambda: call(*taken)

    moved_bytes = moved * shape[0] * shape[1] * BITS[dtype] / 8
    return Case(operation=Small(name="", moved_bytes=moved_bytes), shape=(shape[1],), ready=ready)
