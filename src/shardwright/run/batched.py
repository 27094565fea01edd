"""Batched all-to-all: the micro-batches of a rank run in step, and share the messages of an exchange."""

from collections.abc import Sequence

import torch
from torch import Tensor

from shardwright.run.network import Program, Request


def in_step(programs: Sequence[Program]) -> Program:
    """One program of several micro-batches, each of which waits for the others at every request.

    All-to-alls that they ask for at the same time become one, with one message a peer; what else they
    ask for is done in turn. All ranks of a group must run as many micro-batches so.
    """
    answers: list[Tensor | None] = [None] * len(programs)
    while True:
        requests = []
        for program, answer in zip(programs, answers, strict=True):
            try:
                requests.append(program.send(answer))  # type: ignore[arg-type]
            except StopIteration:
                continue
        if not requests:
            return
        assert len(requests) == len(programs), "micro-batches do the same operations"
        if requests[0].kind == "all_to_all":
            answers = [*_unpacked((yield _packed(requests)), requests)]
        else:
            answers = []
            for request in requests:
                answers.append((yield request))


def _packed(requests: Sequence[Request]) -> Request:
    """One request of all: the rows for each peer side by side, micro-batch by micro-batch."""
    first = requests[0]
    parts = [request.tensor.split(request.gives) for request in requests]
    return Request(
        kind="all_to_all",
        name=first.name,
        layer=first.layer,
        group=first.group,
        tensor=torch.cat([part[peer] for peer in range(len(first.group)) for part in parts]),
        gives=tuple(map(sum, zip(*(request.gives for request in requests), strict=True))),
        takes=tuple(map(sum, zip(*(request.takes for request in requests), strict=True))),
    )


def _unpacked(rows: Tensor, requests: Sequence[Request]) -> list[Tensor]:
    """What came for each micro-batch, in group order."""
    sizes = [request.takes[peer] for peer in range(len(requests[0].group)) for request in requests]
    parts = rows.split(sizes)
    return [torch.cat(parts[index :: len(requests)]) for index in range(len(requests))]
