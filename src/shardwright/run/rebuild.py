"""What a rank should have sent: its program rebuilt with the routing that occurred.

The rank program (steps/) gives name, layer and bytes of every collective; what its routing expects on
average is replaced by what the tokens chose, counted here from the chosen experts alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shardwright.run.exchange import choose_slots
from shardwright.run.operations import load_of, program_of
from shardwright.run.seat import Seat, Seats
from shardwright.steps.operation import Communication, Exchange, Transfer

Choices = dict[tuple[int, int], Tensor]
"""(attention rank, layer) -> experts chosen by its tokens in one step and micro-batch, [T, K]."""


@dataclass(frozen=True, order=True)
class Sent:
    """One collective of one rank, as recorded or as rebuilt."""

    name: str
    layer: int | None
    payload_bytes: int


class Routing:
    """The routing that occurred in one step and micro-batch: how many rows each rank sent where."""

    def __init__(self, seats: Seats, choices: Choices) -> None:
        self._seats, self._choices = seats, choices
        self._sent: dict[tuple[int, int], list[int]] = {}

    def num_tokens(self, rank: int, layer: int) -> int:
        """Tokens of an attention rank."""
        return self._choices[rank, layer].shape[0]

    def rows(self, seat: Seat, stage: int, layer: int) -> tuple[int, int]:
        """Rows that the rank sends to the experts, and rows that it receives for its own."""
        group = seat.exchange_group(stage)
        here = group.index(seat.rank)
        sources = [rank for rank in group if (rank, layer) in self._choices]
        received = sum(self._rows(rank, stage, layer)[here] for rank in sources)
        sent = sum(self._rows(seat.rank, stage, layer)) if seat.rank in sources else 0
        return sent, received

    def _rows(self, rank: int, stage: int, layer: int) -> list[int]:
        """Rows that an attention rank sends to each member of its exchange group."""
        if (rank, layer) not in self._sent:
            self._sent[rank, layer] = self._count(self._seats.seat(rank), stage, layer)
        return self._sent[rank, layer]

    def _count(self, source: Seat, stage: int, layer: int) -> list[int]:
        layout, placement = source.layout, self._seats.placement
        assert placement is not None and source.place.tp is not None and source.place.dp is not None
        tokens = torch.cat([self._choices[rank, layer] for rank in (source.lanes or (source.rank,))])
        lanes = layout.etp if layout.home == "folded" else 1
        num_slices = max(1, layout.tp // lanes)
        share = -(-tokens.shape[0] // num_slices)
        first = source.place.tp // lanes % num_slices * share
        slots = choose_slots(tokens[first : first + share], placement)
        per_slot = slots.flatten().bincount(minlength=len(placement.experts)).tolist()
        own_set = (source.place.dp * layout.tp + source.place.tp) % layout.edp
        counts = []
        for member, own in enumerate(source.slots_in_group(stage)):
            expert_set = (member - layout.attention_ranks) // (layout.ep * layout.etp)
            serves = layout.home == "folded" or expert_set == own_set
            counts.append(sum(per_slot[slot] for slot in own) if serves else 0)
        return counts


def rebuilt(
    seat: Seat, shapes: Sequence[tuple[int, int, int]], routings: Sequence[Routing]
) -> Iterator[Sent]:
    """The collectives of more than one rank of one step, in order.

    shapes, routings: of the micro-batches that run in step, one of each alone or all that are batched.
    """
    row_bytes = int(seat.seats.model.hidden * seat.seats.model.activation_bytes)
    for stage in seat.stages:
        for operations in zip(*(_talk(seat, stage, shape) for shape in shapes), strict=True):
            name, layer = operations[0].name, operations[0].layer
            if isinstance(operations[0], Exchange):
                if layer is not None and len(seat.exchange_group(stage)) > 1:
                    rows = [routing.rows(seat, stage, layer) for routing in routings]
                    yield Sent(name, layer, max(map(sum, zip(*rows, strict=True))) * row_bytes)
                continue
            for operation, routing in zip(operations, routings, strict=True):
                payload_bytes = int(operation.bytes)
                if layer is not None and name.startswith("lane"):
                    # Slices of unequal length are padded to the longest before they are gathered.
                    longest = max(routing.num_tokens(rank, layer) for rank in seat.lanes)
                    payload_bytes = longest * len(seat.lanes) * row_bytes
                yield Sent("stage" if isinstance(operation, Transfer) else name, layer, payload_bytes)


def _talk(seat: Seat, stage: int, shape: tuple[int, int, int]) -> Iterator[Communication]:
    """The communication of one stage's program; that of one rank alone is none, but for exchanges."""
    for operation in program_of(seat, stage, load_of(*shape)):
        if isinstance(operation, Communication) and float(operation.num_ranks) > 1:
            yield operation
