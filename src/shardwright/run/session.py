"""A layout at work on some prompts: who serves which sequence, step by step.

Sequences are dealt to (copy, dp rank) in turn, and cut into micro-batches; every rank of a TP group and
of a pipeline serves the same ones, expert-only ranks serve all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from shardwright.errors import InputError
from shardwright.run.batch import MicroBatch, micro_batch
from shardwright.run.in_process import Key, Record, play
from shardwright.run.network import Program
from shardwright.run.program import Rank, run_micro_batch
from shardwright.run.seat import Seats

Prompt = list[int]


@dataclass(frozen=True, kw_only=True)
class Deal:
    """Which sequences (by index) are in which micro-batch of which (copy, dp)."""

    shares: dict[tuple[int, int], list[list[int]]]

    @property
    def num_micro_batches(self) -> int:
        """The same for every rank."""
        return len(next(iter(self.shares.values())))


def deal(num_sequences: int, seats: Seats, num_micro_batches: int) -> Deal:
    """Deal sequences in turn. Raises InputError when a micro-batch of some rank would have none."""
    copies, dp = seats.layout.copies, seats.layout.dp
    needed = copies * dp * num_micro_batches
    if num_sequences < needed:
        raise InputError("prompts", num_sequences, f"at least {needed}: one a micro-batch of every dp rank")
    shares = {}
    for copy in range(copies):
        for rank in range(dp):
            own = list(range(copy * dp + rank, num_sequences, copies * dp))
            shares[copy, rank] = [own[index::num_micro_batches] for index in range(num_micro_batches)]
    return Deal(shares=shares)


class Player:
    """One rank's micro-batches and their caches."""

    def __init__(self, rank: Rank, prompts: list[Prompt], dealt: Deal) -> None:
        self.rank = rank
        place = rank.seat.place
        self.shares = (
            dealt.shares[place.copy, place.dp]
            if place.dp is not None
            else [[] for _ in range(dealt.num_micro_batches)]
        )
        self.batches = [self._batch([prompts[i] for i in share]) for share in self.shares]
        self.caches = [DynamicCache() for _ in self.shares]

    def _batch(self, prompts: list[Prompt]) -> MicroBatch:
        if prompts:
            return micro_batch(prompts, self.rank.device)
        nothing = torch.empty(0, 1, dtype=torch.long, device=self.rank.device)
        return MicroBatch(padding_B=nothing[:, 0], tokens_BS=nothing)

    def feed(self, tokens: dict[int, int]) -> None:
        """The next token of every sequence, by its index."""
        for share, batch in zip(self.shares, self.batches, strict=True):
            batch.advance()
            batch.feed(
                torch.tensor([[tokens[i]] for i in share], device=self.rank.device).view(len(share), 1)
            )

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values that the rank keeps."""
        layers: list[Any] = [layer for cache in self.caches for layer in cache.layers]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in layers if layer.keys is not None)

    def logits(self, step: int) -> dict[int, Tensor]:
        """The last token's logits [vocab] of its sequences after a step; none but on the rank that speaks."""
        if not self.rank.seat.is_last or self.rank.seat.place.tp != 0:
            return {}
        rows = [row for index in range(len(self.shares)) for row in self.rank.logits[step, index]]
        return dict(zip([i for share in self.shares for i in share], rows, strict=True))

    def programs(self, step: int) -> Iterator[tuple[Key, Program]]:
        """The rank's program of every micro-batch of a step."""
        for index, (batch, cache) in enumerate(zip(self.batches, self.caches, strict=True)):
            key = (self.rank.seat.rank, index)
            yield key, run_micro_batch(self.rank, batch, cache, step=step, index=index)


def play_step(players: list[Player], step: int, record: Record | None = None) -> dict[int, Tensor]:
    """One step of all ranks in one process; the last token's logits [vocab] of every sequence."""
    with torch.no_grad():
        play(dict(item for player in players for item in player.programs(step)), record)
    return {i: row for player in players for i, row in player.logits(step).items()}
