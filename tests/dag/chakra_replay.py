"""Traces played by what they say alone: dependencies, messages, collectives in which all ranks meet.

`one_network`: a rank has one unit that computes and one for all communication, held from when a node is
issued, while it waits for others too, and given to what is ready by ascending id (astra-sim,
workload/HardwareResource.cc and Workload.cc).
"""

import heapq
from collections import defaultdict
from dataclasses import dataclass

from tests.dag.chakra_wire import WireNode

Traces = dict[int, list[WireNode]]
Groups = dict[str, list[int]]
At = tuple[int, int]
"""(rank, id)."""


@dataclass(frozen=True)
class Replay:
    starts_us: dict[At, int]
    ends_us: dict[At, int]

    @property
    def makespan_us(self) -> int:
        return max(self.ends_us.values())


def replay(traces: Traces, groups: Groups, *, one_network: bool = False) -> Replay:
    """Raises AssertionError in a deadlock, or where ranks meet in different collectives."""
    return _Player(traces, groups, one_network).play()


def _unit(node: WireNode) -> str:
    return "comp" if node.kind == "comp" else "net"


def _line(node: WireNode) -> tuple[int, int, int]:
    return node.attr["comm_src"], node.attr["comm_dst"], node.attr["comm_tag"]


class _Player:
    def __init__(self, traces: Traces, groups: Groups, one_network: bool) -> None:
        self.groups, self.one_network = groups, one_network
        self.nodes = {(rank, node.id): node for rank, own in traces.items() for node in own}
        self.waits = {at: len(set(node.deps)) for at, node in self.nodes.items()}
        self.children: dict[At, list[At]] = defaultdict(list)
        for (rank, number), node in self.nodes.items():
            for other in set(node.deps):
                self.children[rank, other].append((rank, number))
        self.ready: dict[int, list[int]] = {rank: [] for rank in traces}
        self.held: set[tuple[int, str]] = set()
        self.met: dict[tuple[str, int], list[At]] = defaultdict(list)
        self.turns: dict[tuple[int, str], int] = defaultdict(int)
        self.arrived: set[tuple[int, int, int]] = set()
        self.waiting: dict[tuple[int, int, int], At] = {}
        self.ends: list[tuple[int, At]] = []
        self.starts_us: dict[At, int] = {}
        self.ends_us: dict[At, int] = {}
        self.now = 0

    def play(self) -> Replay:
        for (rank, number), count in self.waits.items():
            if not count:
                self.ready[rank].append(number)
        for rank in self.ready:
            self._issue_ready(rank)
        while self.ends:
            self.now = self.ends[0][0]
            touched = set()
            while self.ends and self.ends[0][0] == self.now:
                at = heapq.heappop(self.ends)[1]
                self._finish(at)
                touched.add(at[0])
            for rank in sorted(touched):
                self._issue_ready(rank)
        stuck = [(at, node.name) for at, node in self.nodes.items() if at not in self.ends_us]
        assert not stuck, f"deadlock: {stuck[:8]}"
        return Replay(self.starts_us, self.ends_us)

    def _issue_ready(self, rank: int) -> None:
        left = []
        for number in sorted(self.ready[rank]):
            unit = rank, _unit(self.nodes[rank, number])
            if self.one_network and unit in self.held:
                left.append(number)
                continue
            self.held.add(unit)
            self._issue((rank, number))
        self.ready[rank] = left

    def _issue(self, at: At) -> None:
        node = self.nodes[at]
        if node.kind == "coll":
            self._meet(at, node.attr["pg_name"])
        elif node.kind == "recv" and _line(node) not in self.arrived:
            self.waiting[_line(node)] = at
        else:
            self._run(at)

    def _meet(self, at: At, group: str) -> None:
        here = self.met[group, self.turns[at[0], group]]
        self.turns[at[0], group] += 1
        here.append(at)
        if len(here) == len(self.groups[group]):
            assert {rank for rank, _ in here} == set(self.groups[group])
            said = [self.nodes[one] for one in here]
            kinds = {(node.name, node.attr["comm_size"], node.lasts_us) for node in said}
            assert len(kinds) == 1, kinds
            for one in here:
                self._run(one)

    def _run(self, at: At) -> None:
        self.starts_us[at] = self.now
        heapq.heappush(self.ends, (self.now + self.nodes[at].lasts_us, at))

    def _finish(self, at: At) -> None:
        node = self.nodes[at]
        self.ends_us[at] = self.now
        self.held.discard((at[0], _unit(node)))
        if node.kind == "send":
            self.arrived.add(_line(node))
            if _line(node) in self.waiting:
                self._run(self.waiting.pop(_line(node)))
        for child in self.children[at]:
            self.waits[child] -= 1
            if not self.waits[child]:
                self.ready[child[0]].append(child[1])
