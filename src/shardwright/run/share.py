"""Who serves which sequence: the micro-batches of every rank, and their shape in every step.

Sequences are dealt to (copy, dp rank) in turn, and cut into micro-batches; every rank of a TP group and
of a pipeline serves the same ones, expert-only ranks serve all. Within a micro-batch they are aligned at
their ends, the shorter ones behind padding.
Legend: B sequences of the micro-batch, L columns (tokens of the longest prompt), S new tokens of a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shardwright.errors import InputError
from shardwright.run.seat import Seat

Prompt = list[int]
"""Token ids, one or more."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """One micro-batch of one rank. cuts: the columns at which the steps of the prefill begin, and L."""

    sequences: tuple[int, ...]
    padding_B: Tensor
    tokens_BL: Tensor
    cuts: tuple[int, ...]

    def shape(self, step: int) -> tuple[int, int, int]:
        """(B, S, tokens in the cache before it) of a step; after the prefill each brings one token."""
        num_prefills, columns = len(self.cuts) - 1, self.cuts[-1]
        if step < num_prefills:
            return len(self.sequences), self.cuts[step + 1] - self.cuts[step], self.cuts[step]
        return len(self.sequences), 1, columns + step - num_prefills

    def piece_BS(self, step: int) -> Tensor:
        """The tokens of a step of the prefill."""
        return self.tokens_BL[:, self.cuts[step] : self.cuts[step + 1]]


def num_pieces(prompts: Sequence[Prompt], chunk_tokens: int | None) -> int:
    """Steps in which all prompts are prefilled, when none may bring more than `chunk_tokens` a sequence."""
    return 1 if chunk_tokens is None else -(-max(map(len, prompts)) // chunk_tokens)


def deal(prompts: Sequence[Prompt], seat: Seat, num_micro_batches: int, num_prefills: int) -> list[Share]:
    """The micro-batches of a rank.

    Raises InputError for a prompt without tokens, and when a micro-batch of some rank would have no prompt.
    """
    copies, dp = seat.layout.copies, seat.layout.dp
    needed = copies * dp * num_micro_batches
    if len(prompts) < needed:
        raise InputError("prompts", len(prompts), f"at least {needed}: one a micro-batch of every dp rank")
    if not all(prompts):
        raise InputError("prompts", [], "prompts of one token or more")
    place = seat.place
    if place.dp is None:
        return [_share((), prompts, num_prefills)] * num_micro_batches
    own = range(place.copy * dp + place.dp, len(prompts), copies * dp)
    return [
        _share(tuple(own[index::num_micro_batches]), prompts, num_prefills)
        for index in range(num_micro_batches)
    ]


def _share(sequences: tuple[int, ...], prompts: Sequence[Prompt], num_prefills: int) -> Share:
    """No step of the prefill is without a column: there is padding enough for each."""
    columns = max([num_prefills, *(len(prompts[i]) for i in sequences)])
    rows = [[0] * (columns - len(prompts[i])) + prompts[i] for i in sequences]
    return Share(
        sequences=sequences,
        padding_B=torch.tensor([columns - len(prompts[i]) for i in sequences], dtype=torch.long),
        tokens_BL=torch.tensor(rows, dtype=torch.long).view(len(sequences), columns),
        cuts=tuple(columns * piece // num_prefills for piece in range(num_prefills + 1)),
    )
