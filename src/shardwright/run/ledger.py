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


Routed = dict[tuple[int, int, int], Tensor]
"""(step, micro-batch, layer) -> experts that the tokens of a rank chose, [tokens, top-k]."""


class Ledger:
    """Every collective of every rank, micro-batch and step of a job, compared in order.

    routed: by result, the routing that the bytes are rebuilt with. first_difference: in words; '' when the
    whole run is as rebuilt.
    """

    def __init__(self, job: Job, results: Sequence[RankResult], routed: Sequence[Routed]) -> None:
        self._recorded: list[Sent] = []
        self._rebuilt: list[Sent] = []
        self.first_difference = ""
        found: dict[tuple[int, int, int], list[Sent]] = defaultdict(list)
        for result in results:
            for entry in result.performed:
                if entry.name not in CONTROL:
                    sent = Sent(entry.name, entry.layer, entry.payload_bytes)
                    found[result.rank, entry.step, entry.micro_batch].append(sent)
        ranks = [(job.seats.seat(result.rank), job.shares(result.rank)) for result in results]
        micro_batches = range(job.num_micro_batches)
        in_step = [tuple(micro_batches)] if job.batched else [(index,) for index in micro_batches]
        choices = _choices(job, results, routed)
        for step in range(job.num_steps):
            routings = [Routing(job.seats, choices[step, index]) for index in micro_batches]
            for seat, shares in ranks:
                for indices in in_step:
                    shapes = [shares[index].shape(step) for index in indices]
                    expected = list(rebuilt(seat, shapes, [routings[index] for index in indices]))
                    key = (seat.rank, step, indices[0])
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


def strayed(job: Job, results: Sequence[RankResult], expected: Sequence[Routed]) -> Iterator[tuple[int, int]]:
    """(sequence, step) of every token that chose other experts than `expected`, by result."""
    for result, chosen in zip(results, expected, strict=True):
        shares = job.shares(result.rank)
        for (step, index, layer), ran in as_it_ran(result).items():
            sequences = shares[index].sequences
            alike_B = same_experts(ran, chosen[step, index, layer]).view(len(sequences), -1).all(-1)
            yield from ((sequences[row], step) for row in (~alike_B).nonzero().flatten().tolist())


def as_it_ran(result: RankResult) -> Routed:
    """The experts that the tokens of a rank chose."""
    return {key: torch.from_numpy(ids) for key, ids in result.routed.items()}


def as_unsharded(job: Job, result: RankResult, subject: Subject) -> Routed:
    """The same, but every token's experts as the unsharded model has them; those of padding as they ran."""
    shares, found = job.shares(result.rank), as_it_ran(result)
    for (step, index, layer), ran in found.items():
        share = shares[index]
        _, num_tokens, past = share.shape(step)
        chosen = ran.clone().view(len(share.sequences), num_tokens, ran.shape[-1])
        for row, sequence in enumerate(share.sequences):
            padding = int(share.padding_B[row])
            begin, end = (max(0, past + new - padding) for new in (0, num_tokens))
            chosen[row, num_tokens - (end - begin) :] = subject.expected(sequence).routed[layer][begin:end]
        found[step, index, layer] = chosen.view_as(ran)
    return found


def _choices(
    job: Job, results: Sequence[RankResult], routed: Sequence[Routed]
) -> dict[tuple[int, int], Choices]:
    """(step, micro-batch) -> experts that the tokens of every attention rank chose, as tp rank 0 has them."""
    places = [job.seats.seat(result.rank).place for result in results]
    leaders = {
        (place.copy, place.stage, place.dp): chosen
        for place, chosen in zip(places, routed, strict=True)
        if place.tp == 0
    }
    found: dict[tuple[int, int], Choices] = defaultdict(dict)
    for result, place in zip(results, places, strict=True):
        if place.tp is not None:
            for (step, index, layer), ids in leaders[place.copy, place.stage, place.dp].items():
                found[step, index][result.rank, layer] = ids
    return found
