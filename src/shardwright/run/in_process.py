"""One process plays every rank: requests are matched and performed in memory.

A request is performed when every member of its group has posted the same one. What can never be matched
is found at once: ranks that wait for each other, and members that post different operations or sizes.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from shardwright.errors import ShardwrightError
from shardwright.run.network import Program, Request

Key = tuple[int, int]
"""(rank, micro-batch)."""

Record = Callable[[Key, Request], None]

TRANSFERS = ("send", "receive")
"""What the two ranks of a transfer post, in the order of its group."""


class MismatchError(ShardwrightError):
    """The ranks' programs do not fit together: a bug of the program, named by ranks and operations."""

    exit_code = 1


def play(programs: Mapping[Key, Program], record: Record | None = None) -> None:
    """Run all programs to their end. Raises MismatchError when they cannot get there."""
    waiting: dict[Key, Request] = {}
    for key, program in programs.items():
        _resume(key, program, None, waiting)
    while waiting:
        ready = next((keys for key in waiting if (keys := _matched(key, waiting))), None)
        if ready is None:
            lines = [f"rank {rank}, micro-batch {batch}: {waiting[rank, batch]}" for rank, batch in waiting]
            raise MismatchError("deadlock: no rank can go on\n  " + "\n  ".join(lines[:16]))
        requests = [waiting.pop(key) for key in ready]
        for key, request in zip(ready, requests, strict=True):
            if record is not None:
                record(key, request)
        for key, result in zip(ready, _perform(requests), strict=True):
            _resume(key, programs[key], result, waiting)


def _resume(key: Key, program: Program, result: Tensor | None, waiting: dict[Key, Request]) -> None:
    try:
        waiting[key] = program.send(result)  # type: ignore[arg-type]
    except StopIteration:
        return


def _matched(key: Key, waiting: Mapping[Key, Request]) -> list[Key] | None:
    """The keys of the group's members when all have posted; None while some have not.

    Raises MismatchError when a member that waits in the same group waits for something else.
    """
    request, batch = waiting[key], key[1]
    keys = [(member, batch) for member in request.group]
    if not all(member in waiting for member in keys):
        return None
    transfer = request.kind in TRANSFERS
    for place, member in enumerate(keys):
        other = waiting[member]
        due = TRANSFERS[place] if transfer else request.kind
        same = (other.kind, other.name, other.layer) == (due, request.name, request.layer)
        if other.group != request.group:
            return None
        if not same:
            raise MismatchError(f"rank {key[0]} waits in {request}, rank {member[0]} in {other}")
    return keys


def _perform(requests: list[Request]) -> list[Tensor]:
    """Results in group order."""
    first = requests[0]
    tensors = [request.tensor for request in requests]
    if first.kind != "all_to_all" and len({tensor.shape for tensor in tensors}) > 1:
        sizes = {rank: tuple(t.shape) for rank, t in zip(first.group, tensors, strict=True)}
        raise MismatchError(f"{first}: sizes differ by rank: {sizes}")
    match first.kind:
        case "all_reduce":
            total = torch.stack(tensors).sum(0)
            return [total.clone() for _ in tensors]
        case "all_gather":
            whole = torch.cat(tensors)
            return [whole.clone() for _ in tensors]
        case "reduce_scatter":
            return list(torch.stack(tensors).sum(0).chunk(len(tensors)))
        case "send" | "receive":
            return [tensors[0], tensors[0].clone()]
    for index, request in enumerate(requests):
        offered = tuple(other.gives[index] for other in requests)
        if offered != request.takes or sum(request.gives) != request.tensor.shape[0]:
            raise MismatchError(
                f"{request}: rank {first.group[index]} takes {list(request.takes)}, is given {list(offered)}"
            )
    parts = [request.tensor.split(request.gives) for request in requests]
    return [torch.cat([part[index] for part in parts]) for index in range(len(requests))]
