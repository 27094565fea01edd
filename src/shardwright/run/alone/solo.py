"""A program played alone: each request is answered at once, and the computation between two is timed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shardwright.run.alone.clock import clock_of
from shardwright.run.alone.turn import END
from shardwright.run.network import Program, Request

LEADS_TO = {"dispatch_counts": "dispatch", "lane_sizes": "lane_gather"}
"""Control traffic -> the collective that it prepares, and whose stretch its computation belongs to."""


def play_alone(
    program: Program, answer: Callable[[Request], Tensor], device: torch.device
) -> dict[str, float]:
    """Run a program to its end, every request answered at once.

    Gives the seconds of computation between requests, by the operation that they end in.
    """
    clock = clock_of(device)
    result: Any = None
    while True:
        clock.start()
        try:
            request = program.send(result)
        except StopIteration:
            break
        clock.stop(stretch(request))
        result = answer(request)
    clock.stop(END)
    seconds: dict[str, float] = {}
    for name, lap_s in clock.laps():
        seconds[name] = seconds.get(name, 0.0) + lap_s
    return seconds


def stretch(request: Request) -> str:
    """The operation of the rank program that a request is, or prepares."""
    if request.kind in ("send", "receive"):
        return f"{request.kind}_stage"
    return LEADS_TO.get(request.name, request.name)
