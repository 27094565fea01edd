"""One rank of torch.distributed: its micro-batches side by side, each waiting for its own request.

Every program has one request in flight. The driver polls all of them and resumes whichever is done, so
that one micro-batch computes while another's rows travel. It never waits for one alone: ranks that wait
for different micro-batches would wait for each other.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from shardwright.errors import ShardwrightError
from shardwright.run.network import Program, Request
from shardwright.run.seat import Members, Seats

Event = Literal["posted", "done", "waits"]

Watch = Callable[[Event, int, Request], None]
"""Told of (event, micro-batch, request); 'waits' comes once a second while nothing else does."""

SHORTEST_SLEEP_S, LONGEST_SLEEP_S = 2e-5, 1e-3
"""Between two polls; doubles while nothing is done, so that waiting ranks leave the cores to others."""

SIGN_OF_LIFE_S = 1.0


class LinkError(ShardwrightError):
    """The network failed under a request: most often, a peer is gone."""

    exit_code = 1


class Links:
    """The process groups of one rank: one a group of ranks and micro-batch, so that none blocks another.

    Made on every rank of the world at once, in the same order (dist.new_group asks for both).
    """

    def __init__(self, seats: Seats, rank: int, num_micro_batches: int) -> None:
        everyone = tuple(range(seats.layout.num_gpus))
        self._groups: dict[tuple[Members, int], Any] = {(everyone, 0): dist.group.WORLD}
        for members in sorted({*seats.all_groups(), *_neighbours(seats)}):
            assert list(members) == sorted(members), "new_group numbers the members in ascending order"
            for index in range(num_micro_batches):
                group = dist.new_group(list(members))
                if rank in members:
                    self._groups[members, index] = group

    def group(self, members: Members, micro_batch: int) -> Any:
        """The process group of these ranks for one micro-batch; of all ranks, for control traffic, in 0."""
        return self._groups[members, micro_batch]


def _neighbours(seats: Seats) -> Iterator[Members]:
    """(source, target) of every transfer between stages."""
    for rank in range(seats.layout.num_gpus):
        seat = seats.seat(rank)
        after = seat.neighbours[1] if seat.role != "experts" else None
        if after is not None:
            yield rank, after


def unwatched(event: Event, micro_batch: int, request: Request) -> None:
    """A Watch that looks at nothing."""


def drive(programs: Mapping[int, Program], links: Links, watch: Watch = unwatched) -> None:
    """Run one rank's programs, by micro-batch, to their end. Raises LinkError when the network fails."""
    flights: dict[int, Flight] = {}

    def resume(index: int, result: Tensor | None) -> None:
        try:
            request = programs[index].send(result)  # type: ignore[arg-type]
        except StopIteration:
            return
        flights[index] = post(request, links.group(request.group, index))
        watch("posted", index, request)

    for index in programs:
        resume(index, None)
    pause_s, quiet_since = SHORTEST_SLEEP_S, time.monotonic()
    while flights:
        landed = [index for index, flight in flights.items() if flight.work.is_completed()]
        for index in landed:
            flight = flights.pop(index)
            result = flight.land()
            watch("done", index, flight.request)
            resume(index, result)
        if landed:
            pause_s, quiet_since = SHORTEST_SLEEP_S, time.monotonic()
            continue
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_SLEEP_S)
        if time.monotonic() - quiet_since > SIGN_OF_LIFE_S:
            quiet_since = time.monotonic()
            index, flight = next(iter(flights.items()))
            watch("waits", index, flight.request)


@dataclass(frozen=True, kw_only=True)
class Flight:
    """A request on its way. result: of the tensor that arrives, what the program asked for."""

    request: Request
    work: Any
    arriving: Tensor
    result: Callable[[Tensor], Tensor]

    def land(self) -> Tensor:
        """What arrived, once it is all there. Raises LinkError."""
        try:
            self.work.wait()  # done already: raises what went wrong, and orders a GPU's streams
        except RuntimeError as error:
            raise LinkError(f"{self.request}: {_first_line(error)}") from error
        return self.result(self.arriving)


def post(request: Request, group: Any) -> Flight:
    """Start a request. An all_reduce, and a transfer, happens in the program's own tensor."""
    given, num_ranks = request.tensor, len(request.group)
    arriving = given
    result: Callable[[Tensor], Tensor] = _as_it_is
    try:
        match request.kind:
            case "all_reduce":
                work = dist.all_reduce(given, group=group, async_op=True)
            case "all_gather":
                arriving = given.new_empty(num_ranks * given.shape[0], *given.shape[1:])
                work = dist.all_gather_single(arriving, given, group=group, async_op=True)
            case "reduce_scatter":
                # Gloo's own never says that it is done (torch 2.13): parts change hands, and are summed here.
                arriving, result = torch.empty_like(given), _sum_of_parts(num_ranks)
                work = dist.all_to_all_single(arriving, given, group=group, async_op=True)
            case "all_to_all":
                arriving = given.new_empty(sum(request.takes), *given.shape[1:])
                takes, gives = list(request.takes), list(request.gives)
                work = dist.all_to_all_single(arriving, given, takes, gives, group=group, async_op=True)
            case "send" | "receive":
                # Gloo's send and receive end only inside wait(); a broadcast between the two does without.
                work = dist.broadcast(given, src=request.group[0], group=group, async_op=True)
    except RuntimeError as error:
        raise LinkError(f"{request}: {_first_line(error)}") from error
    return Flight(request=request, work=work, arriving=arriving, result=result)


def _as_it_is(arrived: Tensor) -> Tensor:
    return arrived


def _sum_of_parts(num_parts: int) -> Callable[[Tensor], Tensor]:
    return lambda arrived: arrived.view(num_parts, -1, *arrived.shape[1:]).sum(0)


def _first_line(error: RuntimeError) -> str:
    """Torch appends its stack of C++ frames."""
    return str(error).partition("\n")[0]
