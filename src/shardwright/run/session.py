"""A rank at work on its micro-batches, step by step, and all ranks of one process together."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from shardwright.run.batch import MicroBatch
from shardwright.run.batched import in_step
from shardwright.run.in_process import Key, play
from shardwright.run.job import Job, Performed, RankResult, performed
from shardwright.run.network import Program, Request
from shardwright.run.program import Rank, run_micro_batch
from shardwright.run.sampling import next_token
from shardwright.run.share import Share


class Player:
    """One rank's micro-batches, their caches, and what came of them."""

    def __init__(self, rank: Rank, job: Job) -> None:
        self.rank, self.job = rank, job
        self.shares = job.shares(rank.seat.rank)
        self.batches = [MicroBatch(padding_B=share.padding_B.to(rank.device)) for share in self.shares]
        self.caches = [DynamicCache() for _ in self.shares]
        self.tokens: dict[int, list[int]] = {sequence: [] for sequence in range(len(job.prompts))}
        self.logits: list[dict[int, Tensor]] = []
        self.performed: list[Performed] = []
        self.steps_s: list[float] = []

    def programs(self, step: int) -> Iterator[tuple[Key, Program]]:
        """The rank's programs of a step: one a micro-batch, or one for all of them."""
        self.steps_s.append(time.monotonic())
        for share, batch in zip(self.shares, self.batches, strict=True):
            prefills = step < self.job.num_prefills
            tokens_BS = share.piece_BS(step) if prefills else self._last_tokens(share)
            batch.feed(tokens_BS.to(self.rank.device))
        programs = [
            run_micro_batch(self.rank, batch, cache, step=step, index=index)
            for index, (batch, cache) in enumerate(zip(self.batches, self.caches, strict=True))
        ]
        number = self.rank.seat.rank
        if self.job.batched:
            yield (number, 0), in_step(programs)
        else:
            yield from (((number, index), program) for index, program in enumerate(programs))

    def finish(self, step: int) -> dict[int, Tensor]:
        """The step is done: logits [vocab] of the last token of the rank's sequences, where it speaks."""
        for batch in self.batches:
            batch.advance()
        if step + 1 < self.job.num_prefills:
            return {}
        rows = self._rows(step)
        if self.job.keeps_logits:
            self.logits.append(rows)
        return rows

    def extend(self, tokens: dict[int, int]) -> None:
        """The next token of every sequence."""
        for sequence, token in tokens.items():
            self.tokens[sequence].append(token)

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values that the rank keeps."""
        layers: list[Any] = [layer for cache in self.caches for layer in cache.layers]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in layers if layer.keys is not None)

    def result(self, bytes_read: int) -> RankResult:
        """What the rank hands back at the end."""
        return RankResult(
            rank=self.rank.seat.rank,
            tokens=self.tokens,
            logits=[{i: row.cpu().numpy() for i, row in rows.items()} for rows in self.logits],
            routed={key: ids.cpu().numpy() for key, ids in self.rank.routed.items()},
            performed=self.performed,
            steps_s=[*self.steps_s, time.monotonic()],
            num_loaded=self.rank.modules.num_loaded,
            weight_bytes=self.rank.modules.weight_bytes,
            kv_bytes=self.kv_bytes,
            bytes_read=bytes_read,
        )

    def _last_tokens(self, share: Share) -> Tensor:
        """Of each of the sequences, [B, 1]."""
        last = [self.tokens[sequence][-1] for sequence in share.sequences]
        return torch.tensor(last, dtype=torch.long).view(-1, 1)

    def _rows(self, step: int) -> dict[int, Tensor]:
        if not self.rank.seat.is_last or self.rank.seat.place.tp != 0:
            return {}
        rows = [row for index in range(len(self.shares)) for row in self.rank.logits.pop((step, index))]
        return dict(zip([i for share in self.shares for i in share.sequences], rows, strict=True))


@torch.no_grad()
def play_job(players: list[Player], job: Job, told: Callable[[int], None] = lambda step: None) -> None:
    """The whole job, all ranks in this process. told: the step that begins."""
    for step in range(job.num_steps):
        told(step)

        def record(key: Key, request: Request, step: int = step) -> None:
            now = time.monotonic()
            players[key[0]].performed.append(performed(step, key[1], request, now, now))

        play(dict(item for player in players for item in player.programs(step)), record)
        rows = {i: row for player in players for i, row in player.finish(step).items()}
        if rows:
            tokens = chosen_tokens(job, step, rows)
            for player in players:
                player.extend(tokens)
            if ended(players[0]):
                return


def chosen_tokens(job: Job, step: int, rows: dict[int, Tensor]) -> dict[int, int]:
    """The token that follows in each sequence of `rows` after a step: forced, or sampled."""
    place = step + 1 - job.num_prefills
    if job.forced is not None and place < len(job.forced):
        return {i: job.forced[place][i] for i in rows}
    return {i: next_token(row, job.sampling, sequence=i, place=place) for i, row in rows.items()}


def ended(player: Player) -> bool:
    """Whether every sequence has had a token that ends it."""
    return all(not player.job.stop.isdisjoint(tokens) for tokens in player.tokens.values())
