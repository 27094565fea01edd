"""Operands that no cache holds."""

import math

import torch
from torch import Tensor

ALIGNMENT = 256
"""Bytes; as far apart as torch's own allocators begin."""

BLOCK = 1 << 20
"""Random values that are drawn once and laid side by side."""


class Arena:
    """Memory of a device that operands are views of, each beginning where the last one ended.

    Between two layers of a model all others pass through the caches, so that weights and KV come from memory.
    So do operands here: from one use of a place to the next, all of the arena is read. Values are normal
    ones in bf16; read as another format they are finite too.
    """

    def __init__(self, device: torch.device, num_bytes: int) -> None:
        self.num_bytes = num_bytes // (2 * BLOCK) * 2 * BLOCK
        drawn = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0)).to(device, torch.bfloat16)
        self._bytes = drawn.repeat(self.num_bytes // (2 * BLOCK)).view(torch.uint8)
        self._next = 0

    def take(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """A tensor of this shape, from the beginning again where the rest is too short."""
        size = math.prod(shape) * dtype.itemsize
        assert size <= self.num_bytes, "cases are chosen to fit"
        if self._next + size > self.num_bytes:
            self._next = 0
        part = self._bytes[self._next : self._next + size]
        self._next += -(-size // ALIGNMENT) * ALIGNMENT
        return part.view(dtype).view(shape)
