"""What each node of a worker's trace waits for on its own rank: data, and the order of the schedule.

data: the edges of the graph, within a micro-batch. control: turns of micro-batches; what the engine did
before; at the start of a micro-batch, the end of the one that the stage was done with last; and between
communications of a rank, whichever engine they use, what had ended when the next began: a reader with one
network unit a rank (ASTRA-sim, workload/HardwareResource.cc) holds it while it waits for others, and must not
keep what these wait for.
With durations as stated, a node begins exactly when the last of these, its message and its collective's
other ranks allow it.
"""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass

from shardwright.dag.chakra.signals import SIGNAL
from shardwright.dag.timeline import Slice, Timeline, engines_held


@dataclass(frozen=True, slots=True)
class Entry:
    """A slice and the numbers of the nodes of its own worker that it waits for."""

    piece: Slice
    data: tuple[int, ...]
    control: tuple[int, ...]


class _Done:
    """Slices in the order of their ends."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.ends_s: list[float] = []

    def add(self, piece: Slice) -> None:
        place = bisect_right(self.ends_s, piece.end_s)
        self.numbers.insert(place, piece.node.number)
        self.ends_s.insert(place, piece.end_s)

    def last_by(self, at_s: float) -> list[int]:
        """The number of the last one that had ended, if any had."""
        place = bisect_right(self.ends_s, at_s)
        return self.numbers[place - 1 : place]


def worker_entries(timeline: Timeline) -> list[list[Entry]]:
    """By worker, in the order of time: each entry stands after all that it waits for."""
    own: list[list[Slice]] = [[] for _ in timeline.graph.workers]
    for piece in timeline.slices:
        own[piece.node.worker].append(piece)
    batches: dict[int, set[int | None]] = defaultdict(set)
    for node in timeline.graph.nodes:
        batches[node.chain].add(node.micro_batch)
    return [_entries(timeline, pieces, batches) for pieces in own]


def _entries(timeline: Timeline, pieces: list[Slice], batches: dict[int, set[int | None]]) -> list[Entry]:
    pieces.sort(key=lambda piece: (piece.start_s, piece.end_s, piece.node.number))
    # Signals are put beside a chain's nodes: it is done without them.
    own = [piece.node for piece in pieces if piece.node.operation.name != SIGNAL]
    last_of_chain = {node.chain: node.number for node in own}
    engines: dict[str, _Done] = defaultdict(_Done)
    chains = _Done()
    begun: set[int] = set()
    found: list[Entry] = []
    for piece in pieces:
        node = piece.node
        held = [engines[name] for name in engines_held(node, timeline.schedule)]
        data: set[int] = set()
        control = {number for engine in held for number in engine.last_by(piece.start_s)}
        for number in node.after:
            other = timeline.graph.nodes[number]
            if other.worker == node.worker:
                (data if batches[other.chain] & batches[node.chain] else control).add(number)
        if piece.engine != "compute":
            control.update(*(engines[each].last_by(piece.start_s) for each in ("network", "copy")))
        if node.chain not in begun and timeline.graph.workers[node.worker].role != "experts":
            control.update(chains.last_by(piece.start_s))
        found.append(Entry(piece, tuple(sorted(data)), tuple(sorted(control - data))))
        begun.add(node.chain)
        for engine in held:
            engine.add(piece)
        if last_of_chain[node.chain] == node.number:
            chains.add(piece)
    return found
