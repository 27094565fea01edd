"""The timeline as a Chrome trace, which Perfetto and chrome://tracing open.

One process is a GPU where there are at most MAX_TRACKS of them, else a worker with all its ranks; its
threads are the engines of a GPU. Source of the fields: 'Trace Event Format', Google, 2016; complete events
are 'X', flows begin with 's' and end with 'f', bound to the slice around it by bp = 'e'.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shardwright.dag.graph import Graph, Node
from shardwright.dag.timeline import ENGINES, Engine, Slice, Timeline
from shardwright.steps.operation import Communication, Transfer

MAX_TRACKS = 16

Event = dict[str, Any]


@dataclass(frozen=True)
class _Track:
    """A process of the trace: one rank of a worker, or all of them."""

    number: int
    worker: int
    name: str


def trace_json(timeline: Timeline) -> str:
    """The trace as JSON text, the same for the same timeline."""
    whole = {"displayTimeUnit": "ms", "traceEvents": trace_events(timeline)}
    return json.dumps(whole, separators=(",", ":")) + "\n"


def trace_events(timeline: Timeline) -> list[Event]:
    """Names of processes and threads, then slices in order of nodes, then arrows."""
    tracks = _tracks(timeline.graph)
    used: dict[int, set[Engine]] = defaultdict(set)
    for piece in timeline.slices:
        used[piece.node.worker].add(piece.engine)
    events: list[Event] = []
    for row in tracks:
        for track in row:
            events += _names(
                track, {piece.engine for piece in timeline.slices if piece.node.worker == track.worker}
            )
    for piece in timeline.slices:
        events += [_slice(piece, track) for track in tracks[piece.node.worker]]
    return events + list(_arrows(timeline, tracks))


def _tracks(graph: Graph) -> list[list[_Track]]:
    """By worker: one a rank, or one for all of them."""
    if sum(len(worker.ranks) for worker in graph.workers) <= MAX_TRACKS:
        return [
            [_Track(rank, worker.number, f"GPU {rank}: {worker.name}") for rank in worker.ranks]
            for worker in graph.workers
        ]
    return [
        [_Track(worker.number, worker.number, f"{worker.name} ({len(worker.ranks)} GPUs)")]
        for worker in graph.workers
    ]


def _place(track: _Track, engine: Engine) -> Event:
    """Numbers from 1 on, since 0 is the idle process of a kernel."""
    return {"pid": track.number + 1, "tid": track.number * len(ENGINES) + ENGINES.index(engine) + 1}


def _names(track: _Track, used: set[Engine]) -> Iterator[Event]:
    engines = [engine for engine in ENGINES if engine in used]
    first = _place(track, engines[0])
    yield {"ph": "M", "name": "process_name", **first, "args": {"name": track.name}}
    yield {"ph": "M", "name": "process_sort_index", **first, "args": {"sort_index": track.number}}
    for engine in engines:
        place = _place(track, engine)
        yield {"ph": "M", "name": "thread_name", **place, "args": {"name": engine}}
        yield {"ph": "M", "name": "thread_sort_index", **place, "args": {"sort_index": ENGINES.index(engine)}}


def _nanoseconds(seconds: float) -> int:
    """The grid of the viewers: on it, slices that touch do not overlap."""
    return round(seconds * 1e9)


def _slice(piece: Slice, track: _Track) -> Event:
    node, operation = piece.node, piece.node.operation
    start, end = _nanoseconds(piece.start_s), _nanoseconds(piece.end_s)
    return {
        "ph": "X",
        "name": operation.name,
        "cat": operation.family,
        **_place(track, piece.engine),
        "ts": start / 1e3,
        "dur": (end - start) / 1e3,
        "args": {
            "step": node.step,
            "micro_batch": node.micro_batch,
            "layer": operation.layer,
            "axis": operation.axis if isinstance(operation, Communication) else None,
            "bytes": float(operation.bytes),
            "flops": float(operation.flops),
        },
    }


def _arrows(timeline: Timeline, tracks: list[list[_Track]]) -> Iterator[Event]:
    """From sends to their receives, and from the giving to the taking side of an exchange."""
    number = 0
    for piece in timeline.slices:
        for source in _sources(piece.node, timeline.graph):
            other = timeline.slices[source]
            for giver, taker in _pairs(tracks[other.node.worker], tracks[piece.node.worker]):
                flow = {"name": other.node.operation.name, "cat": piece.node.operation.family, "id": number}
                yield {"ph": "s", **flow, **_start(other, giver)}
                yield {"ph": "f", "bp": "e", **flow, **_start(piece, taker)}
                number += 1


def _start(piece: Slice, track: _Track) -> Event:
    return {**_place(track, piece.engine), "ts": _nanoseconds(piece.start_s) / 1e3}


def _sources(node: Node, graph: Graph) -> list[int]:
    """The nodes of other workers that `node` gets its data from."""
    if isinstance(node.operation, Transfer) and not node.operation.sends:
        return [other for other in node.after if isinstance(graph.nodes[other].operation, Transfer)]
    # Experts take what is dispatched, and give what is combined.
    takes = (graph.workers[node.worker].role == "experts") == (node.operation.name == "dispatch")
    return [node.meets] if node.meets is not None and takes else []


def _pairs(givers: list[_Track], takers: list[_Track]) -> list[tuple[_Track, _Track]]:
    """Each rank of the larger side with the one of the other side at the same share of the way.

    Ranks are in order, copies one after the other, so that a pair is of one copy; and of one place in
    its stage, where both sides have as many.
    """
    most = max(len(givers), len(takers))
    return [
        (givers[place * len(givers) // most], takers[place * len(takers) // most]) for place in range(most)
    ]
