"""The critical path: the slices that a timeline is as long as, one waiting for the other."""

from collections import defaultdict

from shardwright.dag.graph import Graph, causal_order
from shardwright.dag.timeline import Engine, Slice, Timeline, engine_of_node
from shardwright.steps.operation import Family


def critical_path(timeline: Timeline) -> tuple[Slice, ...]:
    """From 0 to the makespan without gaps: each slice begins when the one before it ends.

    Walked back from the last end. A slice began at the end of an operation that it needed, its own or its
    other side's, or else when what held its engine (or its GPU, where engines are not used apart) let go.
    """
    ended: dict[tuple[int, float], list[Slice]] = defaultdict(list)
    for piece in timeline.slices:
        ended[piece.node.worker, piece.end_s].append(piece)
    at = max(timeline.slices, key=lambda piece: (piece.end_s, -piece.node.number))
    path = [at]
    while at.start_s > 0:
        at = _waited_for(timeline, at, ended)
        path.append(at)
    return tuple(reversed(path))


def _waited_for(timeline: Timeline, piece: Slice, ended: dict[tuple[int, float], list[Slice]]) -> Slice:
    graph, slices = timeline.graph, timeline.slices
    needed = [slices[number] for number in graph.before(piece.node)]
    last = max(needed, key=lambda other: other.end_s, default=None)
    if last is not None and last.end_s == piece.start_s:
        return last
    sides = [piece, *([] if piece.node.meets is None else [slices[piece.node.meets]])]
    # What began at this very moment as well took no time, and held nobody up.
    ended_then = [other for side in sides for other in ended[side.node.worker, piece.start_s]]
    held = [other for other in ended_then if other.start_s < piece.start_s]
    assert held, "an operation begins when something ends"
    engines = {(side.node.worker, side.engine) for side in sides}
    return max(held, key=lambda other: ((other.node.worker, other.engine) in engines, -other.start_s))


def family_seconds(path: tuple[Slice, ...]) -> dict[Family, float]:
    """Seconds of a path by family of operation."""
    seconds: dict[Family, float] = {}
    for piece in path:
        family = piece.node.operation.family
        seconds[family] = seconds.get(family, 0.0) + piece.end_s - piece.start_s
    return seconds


def lower_bound_s(graph: Graph) -> float:
    """No schedule is faster: the longest chain of dependencies at full speed, or the busiest engine."""
    work: dict[tuple[int, Engine], float] = defaultdict(float)
    ends: dict[int, float] = {}
    for node in causal_order(graph):
        work[node.worker, engine_of_node(node)] += node.seconds
        start_s = max((ends[number] for number in graph.before(node)), default=0.0)
        ends[node.number] = start_s + node.seconds
    return max(*work.values(), *ends.values())
