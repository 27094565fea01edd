"""The sequences of one micro-batch on one attention rank, and what its masks and positions are.

Sequences of unequal length are aligned at their ends: the shorter ones start with padding that no query
sees. B = sequences, S = new tokens of a step, P = tokens in the cache after it.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(kw_only=True)
class MicroBatch:
    """padding_B: tokens of padding before each sequence. past: tokens in the cache before this step."""

    padding_B: Tensor
    past: int = 0
    tokens_BS: Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.long))

    def feed(self, tokens_BS: Tensor) -> None:
        """The tokens of the next step."""
        self.tokens_BS = tokens_BS

    def advance(self) -> None:
        """The step is done: its tokens are in the cache."""
        self.past += self.tokens_BS.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """(B, S) of the step."""
        num_sequences, num_tokens = self.tokens_BS.shape
        return num_sequences, num_tokens

    def positions_BS(self) -> Tensor:
        """Place of each new token in its own sequence; 0 for padding."""
        slots_S = torch.arange(self.past, self.past + self.shape[1], device=self.padding_B.device)
        return (slots_S[None] - self.padding_B[:, None]).clamp(min=0)

    def mask_B1SP(self, dtype: torch.dtype, window: int | None = None) -> Tensor:
        """0 where a query sees a key, the least number of dtype elsewhere; causal, in the window if any."""
        num_tokens, device = self.shape[1], self.padding_B.device
        query_S = torch.arange(self.past, self.past + num_tokens, device=device)
        key_P = torch.arange(self.past + num_tokens, device=device)
        seen_SP = key_P[None] <= query_S[:, None]
        if window is not None:
            seen_SP &= query_S[:, None] - key_P[None] < window
        seen_BSP = seen_SP[None] & (key_P[None] >= self.padding_B[:, None])[:, None]
        mask_BSP = torch.zeros(seen_BSP.shape, dtype=dtype, device=device)
        return mask_BSP.masked_fill(~seen_BSP, torch.finfo(dtype).min)[:, None]
