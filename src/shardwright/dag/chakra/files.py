"""The timeline as Chakra execution traces, a file a rank, and the process groups that they name.

A worker's ranks do equal work: its nodes are encoded once, and each rank's groups, peers and tags are joined
to them. So 2,048 files cost little more than writing them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shardwright.dag.chakra.dependencies import Entry, worker_entries
from shardwright.dag.chakra.groups import ProcessGroups, process_groups
from shardwright.dag.chakra.node import own_body, shared_body
from shardwright.dag.chakra.schema import VERSION, framed, messages
from shardwright.dag.chakra.signals import with_signals
from shardwright.dag.graph import Graph
from shardwright.dag.timeline import Timeline
from shardwright.layout.grid import Grid, groups
from shardwright.steps.operation import Communication, Transfer

NAME = "step"
"""Of the files, before the rank."""

GROUPS_FILE = "groups.json"


@dataclass(frozen=True)
class _Group:
    """A collective over the rank's group of `axis` for `stage`."""

    axis: str
    stage: int


@dataclass(frozen=True)
class _Message:
    """The `index`-th message of each copy, between these stages."""

    index: int
    source: int
    target: int


@dataclass(frozen=True)
class _Part:
    """Bytes that all ranks of a worker write, then maybe a node of which a part is their own.

    before: framed. body: of that node, empty where `own` is None.
    """

    before: bytes
    body: bytes = b""
    own: _Group | _Message | None = None


def chakra_files(timeline: Timeline, grid: Grid, about: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of every file: NAME.RANK.et by rank within workers, and GROUPS_FILE at last.

    grid: of the layout, in the engine's order. about: what was played, for GlobalMetadata.
    Raises EnvironmentLacksError without protobuf.
    """
    whole = with_signals(timeline)
    communications = [n.operation for n in whole.graph.nodes if isinstance(n.operation, Communication)]
    axes = {each.axis for each in communications if not isinstance(each, Transfer)}
    known, lines = process_groups(grid, axes, timeline.schedule.near_ranks), _lines(grid)
    head = framed(_metadata({**about, "times": "predicted"}))
    sent = _messages(whole.graph)
    for worker, entries in zip(whole.graph.workers, worker_entries(whole), strict=True):
        parts = _parts(entries, sent)
        for rank in worker.ranks:
            told: dict[_Group, bytes] = {}
            pieces = [head]
            for part in parts:
                pieces.append(part.before)
                match part.own:
                    case _Group():
                        if part.own not in told:
                            told[part.own] = _in_group(part.own, known, rank)
                        pieces.append(framed(part.body + told[part.own]))
                    case _Message():
                        pieces.append(framed(part.body + _between(part.own, lines[rank], grid)))
            yield f"{NAME}.{rank}.et", b"".join(pieces)
    yield GROUPS_FILE, known.as_json().encode()


def _metadata(about: Mapping[str, str]) -> bytes:
    attr = [{"name": name, "string_val": value} for name, value in about.items()]
    return bytes(messages().metadata(version=VERSION, attr=attr).SerializeToString())


def _parts(entries: list[Entry], sent: dict[int, _Message]) -> list[_Part]:
    parts, before = [], b""
    for entry in entries:
        node, body = entry.piece.node, shared_body(entry)
        match node.operation:
            case Transfer():
                parts.append(_Part(before, body, sent[node.number]))
            case Communication():
                parts.append(_Part(before, body, _Group(node.operation.axis, node.stage)))
            case _:
                before += framed(body)
                continue
        before = b""
    return [*parts, _Part(before)]


def _messages(graph: Graph) -> dict[int, _Message]:
    """By the numbers of both sides: a receive waits for its send."""
    found: dict[int, _Message] = {}
    for node in graph.nodes:
        if isinstance(node.operation, Transfer) and not node.operation.sends:
            source = next(graph.nodes[other] for other in node.after if _sends(graph, other, node.worker))
            found[source.number] = found[node.number] = _Message(len(found) // 2, source.stage, node.stage)
    return found


def _sends(graph: Graph, number: int, to_worker: int) -> bool:
    node = graph.nodes[number]
    return node.worker != to_worker and isinstance(node.operation, Transfer) and node.operation.sends


def _lines(grid: Grid) -> dict[int, tuple[int, list[int]]]:
    """Rank -> its copy, and the ranks of equal coordinates in all stages."""
    rows = groups(grid, "pp").tolist()
    a_copy = len(rows) // grid.layout.copies
    return {rank: (row // a_copy, line) for row, line in enumerate(rows) for rank in line}


def _in_group(own: _Group, known: ProcessGroups, rank: int) -> bytes:
    return own_body(pg_name=str(known.id_of(own.axis, rank, own.stage)))


def _between(own: _Message, at: tuple[int, list[int]], grid: Grid) -> bytes:
    """The tag is one of its own for each step, micro-batch, stage and copy."""
    copy, line = at
    tag = own.index * grid.layout.copies + copy
    return own_body(comm_src=line[own.source], comm_dst=line[own.target], comm_tag=tag)
