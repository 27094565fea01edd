"""A layout under a load of requests, simulated step by step."""

import numpy as np

from shardwright.serving.gaps import NUM_GAPS
from shardwright.serving.house import empty_house
from shardwright.serving.loop import serve
from shardwright.serving.outcome import Served
from shardwright.serving.requests import Requests
from shardwright.serving.server import Server
from shardwright.serving.step import empty_step


def simulate(server: Server, requests: Requests) -> list[Served]:
    """What becomes of the requests: of each copy that has some. Copies asked alike are played once."""
    parts = [requests.of_copy(copy, server.copies) for copy in range(server.copies)]
    played: dict[object, Served] = {}
    for part in parts:
        if part.key not in played and len(part.length):
            played[part.key] = _copy(server, part)
    return [played[part.key] for part in parts if len(part.length)]


def _copy(server: Server, requests: Requests) -> Served:
    lanes = server.dp * server.pp
    house = empty_house(requests.length, requests.answer, lanes, server.policy.most_sequences)
    gaps = np.zeros(NUM_GAPS)
    duration_s, steps, restarted = serve(
        house,
        empty_step(lanes, server.dp, len(server.times.contexts)),
        server.times,
        server.policy,
        server.host,
        np.zeros(0) if requests.arrivals_s is None else requests.arrivals_s,
        requests.in_flight,
        gaps,
    )
    return Served(
        sent_s=house.sent_s,
        ready_s=house.ready_s,
        admitted_s=house.admitted_s,
        first_s=house.first_s,
        last_s=house.last_s,
        length=house.length,
        answer=house.answer,
        gaps=gaps,
        duration_s=duration_s,
        steps=steps,
        restarted=restarted,
        in_flight=requests.in_flight,
    )
