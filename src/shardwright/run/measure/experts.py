"""Grouped experts: one kernel for all of them on a GPU, one after another on a CPU, as our runtime has it."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from shardwright.model.dtype import BITS, Dtype
from shardwright.run.measure.arena import Arena
from shardwright.run.measure.bench import Case
from shardwright.run.measure.dtypes import TORCH
from shardwright.steps.operation import GroupedExperts

SIZES = (
    *((512, 256), (1024, 512), (1024, 1024), (2048, 384), (2048, 768), (2048, 1024), (2048, 1408)),
    *((2880, 2880), (4096, 768), (4096, 1536), (4096, 3584), (5120, 1536), (7168, 512), (7168, 2048)),
)
"""(hidden size, width of an expert on one rank)."""

ACTIVE = (1, 4, 16, 64)

ROWS_EACH = (1, 4, 16, 64, 256, 1024)
"""Of an expert."""


def experts_cases(dtype: Dtype) -> Iterator[Case]:
    """Experts with equal numbers of rows."""
    for hidden, width in SIZES:
        for active in ACTIVE:
            for rows_each in ROWS_EACH:
                yield _case(hidden, width, active, rows_each, dtype)


def experts_kernel(device: torch.device) -> str:
    """What runs on a device."""
    return "grouped_mm" if device.type == "cuda" and hasattr(F, "grouped_mm") else "linear, expert by expert"


def _case(hidden: int, width: int, active: int, rows_each: int, dtype: Dtype) -> Case:
    stored = BITS[dtype] / 8
    operation = GroupedExperts(
        name="",
        rows=active * rows_each,
        active=active,
        hidden=hidden,
        width=width,
        weight_dtype=dtype,
        weight_bytes=stored,
        activation_bytes=stored,
    )

    def ready(arena: Arena) -> Callable[[], object]:
        rows = arena.take(active * rows_each, hidden, dtype=TORCH[dtype])
        gate_up = arena.take(active, 2 * width, hidden, dtype=TORCH[dtype])
        down = arena.take(active, hidden, width, dtype=TORCH[dtype])
        run = _grouped if experts_kernel(rows.device) == "grouped_mm" else _one_by_one
        return lambda: run(rows, gate_up, down)

    return Case(operation=operation, shape=(hidden, width), ready=ready)


def _grouped(rows: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    num_experts, each = len(gate_up), len(rows) // len(gate_up)
    ends = torch.arange(each, len(rows) + 1, each, dtype=torch.int32, device=rows.device)
    assert len(ends) == num_experts
    gate, up = F.grouped_mm(rows, gate_up.transpose(1, 2), offs=ends).chunk(2, dim=-1)
    return F.grouped_mm(F.silu(gate) * up, down.transpose(1, 2), offs=ends)


def _one_by_one(rows: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    parts = []
    for own, first, second in zip(rows.chunk(len(gate_up)), gate_up, down, strict=True):
        gate, up = F.linear(own, first).chunk(2, dim=-1)
        parts.append(F.linear(F.silu(gate) * up, second))
    return torch.cat(parts)
