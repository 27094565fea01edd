"""The collectives of a run as they were recorded, beside the same rebuilt from the rank program."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from shardwright.plan.proof import Collective
from shardwright.run.job import Job, RankResult
from shardwright.run.rebuild import Choices, Routing, Sent, rebuilt
from shardwright.run.subject import Subject, same_experts

CONTROL = frozenset({"dispatch_counts", "lane_sizes"})
"""Traffic that tells sizes, not part of the graph: its bytes do not depend on the tokens."""


class Ledger:
    """Every collective of every rank, micro-batch and step of a job, compared in order.

    first_difference: in words; '' when the whole run is as rebuilt.
    """

    def __init__(self, job: Job, results: Sequence[RankResult], subject: Subject) -> None:
        self._recorded: list[Sent] = []
        self._rebuilt: list[Sent] = []
        self.first_difference = ""
        found: dict[tuple[int, int, int], list[Sent]] = defaultdict(list)
        for result in results:
            for entry in result.performed:
                if entry.name not in CONTROL:
                    sent = Sent(entry.name, entry.layer, entry.payload_bytes)
                    found[result.rank, entry.step, entry.micro_batch].append(sent)
        shares = [job.shares(result.rank) for result in results]
        together = [tuple(range(job.num_micro_batches))] if job.batched else None
        for step in range(job.num_steps):
            routings = [
                Routing(job.seats, _choices(job, results, subject, step, index))
                for index in range(job.num_micro_batches)
            ]
            for result in results:
                for indices in together or [(index,) for index in range(job.num_micro_batches)]:
                    shapes = [shares[result.rank][index].shape(step) for index in indices]
                    seat = job.seats.seat(result.rank)
                    expected = list(rebuilt(seat, shapes, [routings[index] for index in indices]))
                    key = (result.rank, step, indices[0])
                    self._compare(key, found[key], expected)
                    self._recorded += found[key]
                    self._rebuilt += expected

    @property
    def equal(self) -> bool:
        """Whether every collective moved the bytes of the graph."""
        return not self.first_difference

    def rows(self) -> tuple[Collective, ...]:
        """Totals by name."""
        names = sorted({sent.name for sent in (*self._recorded, *self._rebuilt)})
        return tuple(
            Collective(
                name=name,
                count=sum(sent.name == name for sent in self._recorded),
                recorded_bytes=sum(sent.payload_bytes for sent in self._recorded if sent.name == name),
                graph_bytes=sum(sent.payload_bytes for sent in self._rebuilt if sent.name == name),
            )
            for name in names
        )

    def _compare(self, key: tuple[int, int, int], recorded: list[Sent], expected: list[Sent]) -> None:
        if recorded == expected or self.first_difference:
            return
        pairs = zip(recorded, expected, strict=False)
        apart = next((pair for pair in pairs if pair[0] != pair[1]), None)
        self.first_difference = f"rank {key[0]}, step {key[1]}, micro-batch {key[2]}: " + (
            f"{apart[0]} recorded, {apart[1]} rebuilt"
            if apart
            else f"{len(recorded)} recorded, {len(expected)} rebuilt"
        )


def strayed(job: Job, results: Sequence[RankResult], subject: Subject) -> Iterator[tuple[int, int]]:
    """(sequence, step) of every token that chose other experts than in the unsharded model."""
    for result in results:
        shares = job.shares(result.rank)
        for (step, index, layer), ids in result.routed.items():
            share = shares[index]
            ran, expected = torch.from_numpy(ids), expected_choices(job, result, subject, step, index, layer)
            alike_B = same_experts(ran, expected).view(len(share.sequences), -1).all(-1)
            yield from ((share.sequences[row], step) for row in (~alike_B).nonzero().flatten().tolist())


def expected_choices(
    job: Job, result: RankResult, subject: Subject, step: int, index: int, layer: int
) -> Tensor:
    """The experts that ran in a step, [T, K], but every token's as the unsharded model has it.

    Those of padding are as they ran.
    """
    ran = torch.from_numpy(result.routed[step, index, layer])
    share = job.shares(result.rank)[index]
    _, num_tokens, past = share.shape(step)
    chosen = ran.clone().view(len(share.sequences), num_tokens, ran.shape[-1])
    for row, sequence in enumerate(share.sequences):
        padding = int(share.padding_B[row])
        begin, end = (max(0, past + new - padding) for new in (0, num_tokens))
        chosen[row, num_tokens - (end - begin) :] = subject.expected(sequence).routed[layer][begin:end]
    return chosen.view_as(ran)


def _choices(job: Job, results: Sequence[RankResult], subject: Subject, step: int, index: int) -> Choices:
    """Experts chosen by the tokens of every attention rank: as the unsharded model's, in bf16 as they ran."""
    leaders: dict[tuple[int, int | None, int | None], RankResult] = {}
    places = [job.seats.seat(result.rank).place for result in results]
    for result, place in zip(results, places, strict=True):
        if place.tp == 0:
            leaders[place.copy, place.stage, place.dp] = result
    found: Choices = {}
    for result, place in zip(results, places, strict=True):
        if place.tp is None:
            continue
        leader = leaders[place.copy, place.stage, place.dp]
        for at, micro, layer in leader.routed:
            if (at, micro) == (step, index):
                found[result.rank, layer] = (
                    expected_choices(job, leader, subject, step, index, layer)
                    if subject.dtype == torch.float32
                    else torch.from_numpy(leader.routed[at, micro, layer])
                )
    return found
