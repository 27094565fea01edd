"""When everything happens: the graph played on the engines of every GPU, event by event.

A GPU has three engines: one computes, one takes part in collectives, one copies to and from the stages
beside it. In serial and pipelined schedules it uses one at a time; overlapped, all at once, but for the
communication that the schedule cannot hide, which keeps it from computing. A node takes
its engine as soon as all before it have ended: the earlier step first, then the earlier micro-batch.
A stage has its share of the micro-batches under way, and takes the next one when it is done with one.
A collective and a copy on the same tier of links (in the node, or between nodes) share its bandwidth
equally, each at half its speed; computing loses `interference` of its speed while its GPU is in a
collective or an exchange.
"""

import heapq
from bisect import insort
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from shardwright.dag.graph import Graph, Node
from shardwright.dag.schedule import Schedule
from shardwright.steps.operation import Communication, Exchange, Transfer

Engine = Literal["compute", "network", "copy"]

ENGINES: tuple[Engine, ...] = ("compute", "network", "copy")

Tier = Callable[[Communication], str]
"""The links that a communication uses: 'near' inside a node, 'far' between nodes."""


def engine_of_node(node: Node) -> Engine:
    """Which engine of its GPU a node uses."""
    if isinstance(node.operation, Transfer):
        return "copy"
    return "network" if isinstance(node.operation, Communication) else "compute"


def engines_held(node: Node, schedule: Schedule) -> tuple[str, ...]:
    """What a node keeps busy: 'one' where a GPU does one thing at a time, else engines of its own."""
    engine = engine_of_node(node)
    if schedule.order != "overlapped":
        return ("one",)
    hidden = engine == "compute" or schedule.hides == "all" or isinstance(node.operation, Exchange)
    return (engine,) if hidden else (engine, "compute")


@dataclass(frozen=True, slots=True)
class Slice:
    """A node at work on its worker. cause: the node whose end it waited for last, None at the start."""

    node: Node
    engine: Engine
    start_s: float
    end_s: float
    cause: int | None


@dataclass(frozen=True)
class Timeline:
    """What came of a graph that was played by a schedule; slices by node number."""

    graph: Graph
    schedule: Schedule
    slices: tuple[Slice, ...]

    @cached_property
    def makespan_s(self) -> float:
        """From the first beginning to the last end."""
        return max((piece.end_s for piece in self.slices), default=0.0)

    def step_end_s(self, step: int) -> float:
        """When the last node of a step ends."""
        return max(self._ends_s(step).values())

    def mean_end_s(self, step: int) -> float:
        """When a micro-batch ends the step, in the mean of all."""
        ends = self._ends_s(step).values()
        return sum(ends) / len(ends)

    def _ends_s(self, step: int) -> dict[int | None, float]:
        """By micro-batch."""
        ends: dict[int | None, float] = {}
        for piece in self.slices:
            if piece.node.step == step:
                micro_batch = piece.node.micro_batch
                ends[micro_batch] = max(ends.get(micro_batch, 0.0), piece.end_s)
        return ends


@dataclass(slots=True)
class _Job:
    """What is started as one: a run of computing, one communication, or both sides of an exchange.

    holds: the engines that it keeps busy, by worker. remaining: seconds at full speed.
    """

    number: int
    nodes: list[Node]
    holds: list[tuple[int, str]]
    tier: str
    remaining: float
    waits: int = 0
    ready_s: float = 0.0
    start_s: float = 0.0
    since_s: float = 0.0
    rate: float = 1.0
    version: int = 0
    cause: int | None = None
    marks: list[tuple[float, float]] = field(default_factory=list)
    """(at, remaining) at every change of speed."""


def simulate(graph: Graph, schedule: Schedule, tier: Tier) -> Timeline:
    """Play the graph from empty. Deterministic."""
    return _Player(graph, schedule, tier).play()


class _Player:
    def __init__(self, graph: Graph, schedule: Schedule, tier: Tier) -> None:
        self.graph, self.schedule = graph, schedule
        self.apart = schedule.order == "overlapped"
        self.jobs: list[_Job] = []
        self.job_of: dict[int, int] = {}
        self._gather(tier)
        self.followers: dict[int, list[int]] = defaultdict(list)
        for job in self.jobs:
            before = {self.job_of[other] for node in job.nodes for other in node.after} - {job.number}
            job.waits = len(before)
            for other in before:
                self.followers[other].append(job.number)
        self.busy: dict[tuple[int, str], _Job] = {}
        self.under_way: dict[int, set[int]] = {
            worker.number: set() for worker in graph.workers if worker.role != "experts"
        }
        self.limit = _at_once(graph, schedule)
        self.left = self._chain_lengths()
        self.queue: list[tuple[int, int, float, int]] = []
        self.ends: list[tuple[float, int, int]] = []

    def play(self) -> Timeline:
        now = 0.0
        for job in self.jobs:
            if not job.waits:
                self._enqueue(job)
        self._start(now)
        while self.ends:
            now, version, number = heapq.heappop(self.ends)
            job = self.jobs[number]
            if version == job.version and job.remaining >= 0:
                self._finish(job, now)
            # Whatever ends at the same moment ends before anything starts.
            if not self.ends or self.ends[0][0] > now:
                self._start(now)
        pieces: list[Slice] = []
        for job in self.jobs:
            assert job.remaining < 0, "a graph without cycles ends"
            pieces += _slices(job)
        return Timeline(self.graph, self.schedule, tuple(sorted(pieces, key=lambda piece: piece.node.number)))

    def _held(self, node: Node) -> list[tuple[int, str]]:
        return [(node.worker, engine) for engine in engines_held(node, self.schedule)]

    def _gather(self, tier: Tier) -> None:
        """Consecutive computing of a chain is one run; both sides of an exchange are one job."""
        run: _Job | None = None
        for node in self.graph.nodes:
            engine = engine_of_node(node)
            if node.meets is not None and node.meets in self.job_of:
                job = self.jobs[self.job_of[node.meets]]
                job.nodes.append(node)
                job.holds += self._held(node)
                self.job_of[node.number] = job.number
                run = None
                continue
            if run is not None and engine == "compute" and node.after == (run.nodes[-1].number,):
                run.nodes.append(node)
                run.remaining += node.seconds
                self.job_of[node.number] = run.number
                continue
            job = _Job(
                number=len(self.jobs),
                nodes=[node],
                holds=self._held(node),
                tier=tier(node.operation) if isinstance(node.operation, Communication) else "",
                remaining=node.seconds,
            )
            self.jobs.append(job)
            self.job_of[node.number] = job.number
            run = job if engine == "compute" else None

    def _chain_lengths(self) -> dict[int, int]:
        left: dict[int, int] = defaultdict(int)
        for node in self.graph.nodes:
            left[node.chain] += 1
        return left

    def _enqueue(self, job: _Job) -> None:
        first = job.nodes[0]
        insort(self.queue, (first.step, first.micro_batch or 0, job.ready_s, job.number))

    def _start(self, now: float) -> None:
        """Start what is ready and finds its engines free, the earliest micro-batch first."""
        waiting = []
        touched: set[int] = set()
        for entry in self.queue:
            job = self.jobs[entry[3]]
            if not self._free(job):
                waiting.append(entry)
                continue
            job.start_s = job.since_s = now
            for held in job.holds:
                self.busy[held] = job
                touched.add(held[0])
            for node in job.nodes:
                if node.worker in self.under_way:
                    self.under_way[node.worker].add(node.chain)
            heapq.heappush(self.ends, (now + job.remaining, job.version, job.number))
        self.queue = waiting
        if self.apart and touched:
            self._change_speed(touched, now)

    def _free(self, job: _Job) -> bool:
        if any(held in self.busy for held in job.holds):
            return False
        for node in job.nodes if job.tier else job.nodes[:1]:
            under_way = self.under_way.get(node.worker, ())
            if len(under_way) >= self.limit and node.chain not in under_way:
                return False
        return True

    def _finish(self, job: _Job, now: float) -> None:
        job.remaining = -1.0
        job.marks.append((now, 0.0))
        touched = set()
        for held in job.holds:
            del self.busy[held]
            touched.add(held[0])
        for node in job.nodes:
            self.left[node.chain] -= 1
            if not self.left[node.chain] and node.worker in self.under_way:
                self.under_way[node.worker].remove(node.chain)
        for number in self.followers[job.number]:
            follower = self.jobs[number]
            follower.waits -= 1
            if not follower.waits:
                follower.ready_s, follower.cause = now, job.nodes[-1].number
                self._enqueue(follower)
        if self.apart:
            self._change_speed(touched, now)

    def _change_speed(self, workers: set[int], now: float) -> None:
        """Of all that is at work on these workers, after something on them began or ended."""
        jobs = {
            job.number: job
            for worker in workers
            for engine in ENGINES
            if (job := self.busy.get((worker, engine))) is not None
        }
        for job in jobs.values():
            rate = min(self._rate(job, node.worker) for node in (job.nodes if job.tier else job.nodes[:1]))
            if rate == job.rate:
                continue
            job.remaining -= (now - job.since_s) * job.rate
            job.remaining = max(job.remaining, 0.0)
            job.marks.append((now, job.remaining))
            job.since_s, job.rate, job.version = now, rate, job.version + 1
            heapq.heappush(self.ends, (now + job.remaining / rate, job.version, job.number))

    def _rate(self, job: _Job, worker: int) -> float:
        network, copy = self.busy.get((worker, "network")), self.busy.get((worker, "copy"))
        if not job.tier:
            return 1.0 - self.schedule.interference * (network is not None)
        shared = network is not None and copy is not None and network.tier == copy.tier
        return 0.5 if shared else 1.0


def _at_once(graph: Graph, schedule: Schedule) -> int:
    """Micro-batches that a stage takes up at once, at most.

    Overlapped, as many as steady decode has at each: with more, those behind the first one reach the next
    stage late. Experts that all stages share take any, whichever stage they are at.
    """
    if schedule.order != "overlapped":
        return 1
    if any(worker.stage is None for worker in graph.workers):
        return schedule.micro_batches
    return -(-schedule.micro_batches // (1 + max(node.stage for node in graph.nodes)))


def _slices(job: _Job) -> list[Slice]:
    """The nodes of a job one after the other, each for its share of the work."""
    if job.tier or len(job.nodes) == 1:
        end_s = job.marks[-1][0]
        return [Slice(node, engine_of_node(node), job.start_s, end_s, job.cause) for node in job.nodes]
    total = sum(node.seconds for node in job.nodes)
    done, begin_s, cause = 0.0, job.start_s, job.cause
    found = []
    for node in job.nodes:
        done += node.seconds
        end_s = job.marks[-1][0] if node is job.nodes[-1] else _reached(job, total, total - done)
        found.append(Slice(node, "compute", begin_s, end_s, cause))
        begin_s, cause = end_s, node.number
    return found


def _reached(job: _Job, total: float, remaining: float) -> float:
    """When a job had only `remaining` left."""
    at, left = job.start_s, total
    for next_at, next_left in job.marks:
        if next_left <= remaining:
            share = (left - remaining) / (left - next_left) if left > next_left else 1.0
            return at + (next_at - at) * share
        at, left = next_at, next_left
    return at
