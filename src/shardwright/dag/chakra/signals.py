"""Messages for what waits across ranks and is carried by none: a trace holds one rank, and knows no others.

A step's first stage waits for the tokens of the last one's step before, and in a serial schedule for its
turn. The graph has an edge for both, without bytes; a trace gets a send and a receive of one byte (network
models may refuse messages of none), which take no time.
"""

from collections import defaultdict
from dataclasses import replace

from shardwright.dag.graph import Graph, Node
from shardwright.dag.timeline import Slice, Timeline
from shardwright.steps.operation import Transfer

SIGNAL = "signal"
"""The name of both sides."""

SIGNAL_BYTES = 1


def with_signals(timeline: Timeline) -> Timeline:
    """The timeline, with a send and a receive in place of each such edge; their numbers come last."""
    nodes = timeline.graph.nodes
    more: list[Slice] = []
    received: dict[int, dict[int, int]] = defaultdict(dict)
    for piece in timeline.slices:
        for other in dict.fromkeys(piece.node.after):
            source = timeline.slices[other]
            if source.node.worker == piece.node.worker or isinstance(source.node.operation, Transfer):
                continue
            number = len(nodes) + len(more)
            send = _signal(source.node, number, after=(other,))
            receive = _signal(piece.node, number + 1, after=(number,))
            more.append(Slice(send, "copy", source.end_s, source.end_s, other))
            more.append(Slice(receive, "copy", piece.start_s, piece.start_s, number))
            received[piece.node.number][other] = number + 1
    slices = (*(_waiting(piece, received.get(piece.node.number, {})) for piece in timeline.slices), *more)
    graph = Graph(timeline.graph.workers, tuple(piece.node for piece in slices))
    return replace(timeline, graph=graph, slices=slices)


def _signal(beside: Node, number: int, after: tuple[int, ...]) -> Node:
    """One side of a message, of the chain of the node that it is for."""
    operation = Transfer(
        name=SIGNAL,
        axis="pp",
        num_ranks=2,
        payload_bytes=SIGNAL_BYTES,
        sends=after[0] == beside.number,
    )
    return replace(beside, number=number, operation=operation, seconds=0.0, after=after, meets=None)


def _waiting(piece: Slice, received: dict[int, int]) -> Slice:
    if not received:
        return piece
    after = tuple(dict.fromkeys(received.get(other, other) for other in piece.node.after))
    return replace(piece, node=replace(piece.node, after=after))
