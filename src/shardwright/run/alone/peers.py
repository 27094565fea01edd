"""The peers of a rank that runs alone: every request is answered at once, with tensors of the right shape."""

import torch
from torch import Tensor

from shardwright.run.alone.expected import expected_counts
from shardwright.run.alone.turn import Turn
from shardwright.run.network import Request
from shardwright.run.seat import Members, Seat
from shardwright.workload.routing import RoutingProfile


class AbsentPeers:
    """What the other ranks would hand back, made up.

    A sum is the rank's own part; what is gathered is its own part over again; what is scattered its own
    chunk; rows that come are drawn, as many as the expected routing says, and kept for the next time.
    """

    def __init__(self, seat: Seat, turn: Turn, profile: RoutingProfile, generator: torch.Generator) -> None:
        self._seat, self._turn, self._profile = seat, turn, profile
        self._generator = generator
        self._counts: dict[Members, Tensor] = {}
        self._drawn: dict[tuple[int, ...], Tensor] = {}

    def answer(self, request: Request) -> Tensor:
        """The result of a request."""
        own, num_ranks = request.tensor, len(request.group)
        match request.kind:
            case "all_reduce" | "send":
                return own
            case "all_gather":
                return torch.cat([own] * num_ranks)
            case "reduce_scatter":
                return own.chunk(num_ranks)[request.group.index(self._seat.rank)]
            case "receive":
                return self._rows(own, tuple(own.shape))
        if request.name == "dispatch_counts":
            return self._rows_to_come(request)
        return self._rows(own, (sum(request.takes), *own.shape[1:]))

    def _rows_to_come(self, request: Request) -> Tensor:
        """Rows from each member for each slot of the rank, [members x slots]."""
        if request.group not in self._counts:
            counts = expected_counts(self._seat, self._turn, self._profile, request.group)
            self._counts[request.group] = torch.from_numpy(counts).flatten().to(request.tensor)
        return self._counts[request.group]

    def _rows(self, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        if shape not in self._drawn:
            empty = torch.empty(shape, dtype=like.dtype, device=like.device)
            self._drawn[shape] = empty.normal_(generator=self._generator)
        return self._drawn[shape]
