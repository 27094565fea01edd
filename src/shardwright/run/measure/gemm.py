"""GEMMs as a model has them: activations times the transpose of weights."""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F  # noqa: N812

from shardwright.model.dtype import BITS, Dtype
from shardwright.run.measure.arena import Arena
from shardwright.run.measure.bench import Case
from shardwright.run.measure.dtypes import TORCH
from shardwright.steps.operation import Gemm

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

WIDTHS = (
    *((256, 1024), (512, 2048), (768, 768), (1024, 256), (1024, 1024), (1024, 4096), (1536, 2048)),
    *((2048, 512), (2048, 768), (2048, 2048), (2048, 6144), (2560, 4096), (3072, 1024), (4096, 1024)),
    *((4096, 4096), (4096, 11008), (5120, 5120), (6144, 2048), (6144, 4096), (8192, 1024), (8192, 8192)),
    *((11008, 2048), (14336, 4096), (16384, 2048), (28672, 4096), (4096, 14336), (2048, 16384)),
)
"""(n, k): projections, dense layers and shards of them from models of 0.5 B to 70 B."""


def gemm_cases(dtype: Dtype) -> Iterator[Case]:
    """Every number of rows for every shape of weights."""
    for n, k in WIDTHS:
        for m in ROWS:
            yield Case(operation=gemm_of(m, n, k, dtype), shape=(n, k), ready=_ready(m, n, k, TORCH[dtype]))


def gemm_of(m: int, n: int, k: int, dtype: Dtype) -> Gemm:
    """The operation, weights and activations of one format."""
    stored = BITS[dtype] / 8
    return Gemm(name="", m=m, n=n, k=k, weight_dtype=dtype, weight_bytes=stored, activation_bytes=stored)


def _ready(m: int, n: int, k: int, dtype: torch.dtype) -> Callable[[Arena], Callable[[], object]]:
    def ready(arena: Arena) -> Callable[[], object]:
        rows, weights = arena.take(m, k, dtype=dtype), arena.take(n, k, dtype=dtype)
        return lambda: F.linear(rows, weights)

    return ready
