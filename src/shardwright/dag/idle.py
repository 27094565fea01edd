"""Where a GPU's time goes: computing, or waiting, and what for."""

from collections.abc import Callable
from dataclasses import dataclass

from shardwright.dag.timeline import ENGINES, Engine, Timeline
from shardwright.dag.worker import Worker


@dataclass(frozen=True, kw_only=True)
class TimeSpent:
    """The seconds of one worker's GPUs. The first four add up to `total_s`.

    computing_s: its compute engine is busy. The rest is idle, the first that is true of
    communication_s: one of its micro-batches is in a collective, an exchange or a copy (exposed);
    peer_s: a micro-batch is at its stage, but the other side of their exchange computes or serves others;
    bubble_s: none is: all are at other stages, or the next step has not begun.

    busy_s: by engine. communicating_s: network or copy engine busy, hidden behind computing or exposed.
    """

    worker: Worker
    total_s: float
    computing_s: float
    communication_s: float
    peer_s: float
    bubble_s: float
    busy_s: dict[Engine, float]
    communicating_s: float

    @property
    def hidden_s(self) -> float:
        """Communication during which it computes."""
        return self.communicating_s - self.communication_s


def time_spent(timeline: Timeline, begin_s: float = 0.0, end_s: float | None = None) -> tuple[TimeSpent, ...]:
    """What each worker does from `begin_s` to `end_s`, by default all of the timeline."""
    end_s = timeline.makespan_s if end_s is None else end_s
    stays = _stays(timeline)
    changes: dict[int, list[tuple[float, int, str]]] = {w.number: [] for w in timeline.graph.workers}
    for piece in timeline.slices:
        changes[piece.node.worker] += _window(piece.start_s, piece.end_s, piece.engine, begin_s, end_s)
    for worker in timeline.graph.workers:
        for stage, start_s, stop_s in stays:
            if worker.stage in (stage, None):
                changes[worker.number] += _window(start_s, stop_s, "stay", begin_s, end_s)
    return tuple(_spent(worker, changes[worker.number], begin_s, end_s) for worker in timeline.graph.workers)


def mean(spent: tuple[TimeSpent, ...], figure: Callable[[TimeSpent], float]) -> float:
    """A figure of the average GPU; over all of a layout, `figure` of each worker as often as it has ranks."""
    weights = [len(one.worker.ranks) for one in spent]
    return sum(weight * figure(one) for weight, one in zip(weights, spent, strict=True)) / sum(weights)


def communication_share(spent: tuple[TimeSpent, ...]) -> float:
    """Share of its time in which the average GPU communicates."""
    return mean(spent, lambda one: one.communicating_s / one.total_s)


def exposed_share(spent: tuple[TimeSpent, ...]) -> float:
    """Share of its time in which the average GPU communicates and does not compute."""
    return mean(spent, lambda one: one.communication_s / one.total_s)


def _stays(timeline: Timeline) -> list[tuple[int, float, float]]:
    """(stage, from, to): when a micro-batch is at a stage, from its first operation there to its last."""
    found: dict[int, tuple[int, float, float]] = {}
    for piece in timeline.slices:
        node = piece.node
        if timeline.graph.workers[node.worker].role != "experts":
            _, start_s, end_s = found.get(node.chain, (node.stage, piece.start_s, piece.end_s))
            found[node.chain] = (node.stage, min(start_s, piece.start_s), max(end_s, piece.end_s))
    return list(found.values())


def _window(
    start_s: float, stop_s: float, what: str, begin_s: float, end_s: float
) -> list[tuple[float, int, str]]:
    """When `what` begins (+1) and ends (-1), within the window."""
    start_s, stop_s = max(start_s, begin_s), min(stop_s, end_s)
    return [(start_s, 1, what), (stop_s, -1, what)] if start_s < stop_s else []


def _spent(worker: Worker, changes: list[tuple[float, int, str]], begin_s: float, end_s: float) -> TimeSpent:
    going = dict.fromkeys((*ENGINES, "stay"), 0)
    seconds = dict.fromkeys(("computing", "communication", "peer", "bubble"), 0.0)
    busy: dict[Engine, float] = dict.fromkeys(ENGINES, 0.0)
    communicating_s, at = 0.0, begin_s
    for until, step, what in (*sorted(changes), (end_s, 0, "stay")):
        lasted, communicates = until - at, bool(going["network"] or going["copy"])
        if going["compute"]:
            doing = "computing"
        elif communicates:
            doing = "communication"
        else:
            doing = "peer" if going["stay"] else "bubble"
        seconds[doing] += lasted
        communicating_s += lasted * communicates
        for engine in ENGINES:
            busy[engine] += lasted * going[engine]
        going[what] += step
        at = until
    return TimeSpent(
        worker=worker,
        total_s=end_s - begin_s,
        computing_s=seconds["computing"],
        communication_s=seconds["communication"],
        peer_s=seconds["peer"],
        bubble_s=seconds["bubble"],
        busy_s=busy,
        communicating_s=communicating_s,
    )
