"""The graph as DOT text, equal layers, micro-batches and steps drawn once, for Graphviz to lay out."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from shardwright.dag.graph import Graph, Node
from shardwright.dag.timeline import engine_of_node
from shardwright.steps.operation import Communication
from shardwright.units import format_bytes

MAX_GPUS = 8
"""With more, a cluster of the drawing is a worker with all its GPUs."""

COLOURS = {"compute": "#dbe9f6", "network": "#fde3c8", "copy": "#d9f0d3"}
"""By engine."""


@dataclass(frozen=True)
class _Block:
    """Equal layers of one worker in a row (none: what is outside of layers). nodes: of the first."""

    layers: tuple[int, ...]
    nodes: tuple[Node, ...]

    @property
    def title(self) -> str:
        if len(self.layers) < 2:
            return f"layer {self.layers[0]}"
        return f"layers {self.layers[0]}-{self.layers[-1]}  x{len(self.layers)}"


def dot_text(graph: Graph, title: str) -> str:
    """Clusters of GPUs, within them runs of equal layers, within these operations with group and payload.

    A dashed edge leads back to an earlier operation: of the next layer, micro-batch or step.
    """
    drawn = _drawn(graph)
    lines = [
        "digraph shardwright {",
        f"  label={_quoted(title)}; labelloc=t;",
        '  node [shape=box, style="filled,rounded", fontname="Helvetica", fontsize=10];',
        '  graph [fontname="Helvetica", fontsize=11]; edge [arrowsize=0.6];',
    ]
    expanded = sum(len(worker.ranks) for worker in graph.workers) <= MAX_GPUS
    places: dict[int, list[str]] = {}
    for worker in graph.workers:
        blocks = [block for (number, _), found in drawn.items() if number == worker.number for block in found]
        names = [f"GPU {rank}: {worker.name}" for rank in worker.ranks]
        if not expanded:
            names = [f"{worker.name} ({len(worker.ranks)} GPUs)"]
        places[worker.number] = [f"w{worker.number}g{place}" for place in range(len(names))]
        for place, name in zip(places[worker.number], names, strict=True):
            lines += [f"  subgraph cluster_{place} {{", f"    label={_quoted(name)};"]
            lines += [
                f"    {line}" for index, block in enumerate(blocks) for line in _block(block, place, index)
            ]
            lines.append("  }")
    lines += [f"  {edge}" for edge in _edges(graph, drawn, places)]
    return "\n".join([*lines, "}"]) + "\n"


_Drawn = dict[tuple[int, int], list[_Block]]
"""By worker and stage."""


def _drawn(graph: Graph) -> _Drawn:
    """What is drawn: the first micro-batch of the first step, a run of equal layers by its first one."""
    found: _Drawn = defaultdict(list)
    first = [node for node in graph.nodes if node.step == 0 and not node.micro_batch]
    for key, own in groupby(first, key=lambda node: (node.worker, node.stage, node.operation.layer)):
        worker, stage, layer = key
        nodes, blocks = tuple(own), found[worker, stage]
        if layer is None:
            blocks.append(_Block((), nodes))
        elif blocks and blocks[-1].layers and _work(blocks[-1].nodes) == _work(nodes):
            blocks[-1] = replace(blocks[-1], layers=(*blocks[-1].layers, layer))
        else:
            blocks.append(_Block((layer,), nodes))
    return found


def _work(nodes: tuple[Node, ...]) -> list[object]:
    return [replace(node.operation, layer=None) for node in nodes]


def _block(block: _Block, place: str, index: int) -> Iterator[str]:
    nodes = [f"{place}n{node.number} [{_look(node)}];" for node in block.nodes]
    if not block.layers:
        yield from nodes
        return
    yield f"subgraph cluster_{place}b{index} {{"
    yield f"  label={_quoted(block.title)}; style=dashed;"
    yield from (f"  {line}" for line in nodes)
    yield "}"


def _look(node: Node) -> str:
    operation, engine = node.operation, engine_of_node(node)
    label = operation.name
    if isinstance(operation, Communication):
        ranks = f"{operation.axis} of {operation.num_ranks:g}"
        label += f"\n{ranks}, {format_bytes(float(operation.bytes))}"
    return f'label={_quoted(label)}, fillcolor="{COLOURS[engine]}"'


def _edges(graph: Graph, drawn: _Drawn, places: dict[int, list[str]]) -> Iterator[str]:
    """Every edge of the graph, between the nodes that stand for its ends, once each."""
    shown = _stand_ins(graph, drawn)
    seen: set[tuple[int, int]] = set()
    for node in graph.nodes:
        meets = () if node.meets is None or node.meets > node.number else (node.meets,)
        for other in (*node.after, *meets):
            pair = shown[other], shown[node.number]
            if pair[0] == pair[1] or pair in seen:
                continue
            seen.add(pair)
            one, two = places[graph.nodes[other].worker], places[node.worker]
            look = ""
            if other in meets:
                look = " [dir=both, style=bold]"
            elif pair[0] > pair[1]:
                look = " [style=dashed, constraint=false]"
            most = max(len(one), len(two))
            for rank in range(most):
                tail, head = one[rank * len(one) // most], two[rank * len(two) // most]
                yield f"{tail}n{pair[0]} -> {head}n{pair[1]}{look};"


def _stand_ins(graph: Graph, drawn: _Drawn) -> dict[int, int]:
    """Of each node the one that is drawn for it: at the same place in its chain and in its run of layers."""
    drawn_at: dict[tuple[int, int, bool], list[int]] = defaultdict(list)
    for (worker, stage), blocks in drawn.items():
        for block in blocks:
            for node in block.nodes * max(len(block.layers), 1):
                drawn_at[worker, stage, node.micro_batch is None].append(node.number)
    counts: dict[tuple[int, int, int, int | None], int] = defaultdict(int)
    found: dict[int, int] = {}
    for node in graph.nodes:
        of_all = node.micro_batch is None
        chain = (node.worker, node.stage, node.step, node.micro_batch)
        found[node.number] = drawn_at[node.worker, node.stage, of_all][counts[chain]]
        counts[chain] += 1
    return found


def _quoted(text: str) -> str:
    """A DOT string: its quotes and backslashes are its own, a line break is one.

    >>> print(_quoted('a "b" \\\\n'))
    "a \\"b\\" \\\\n"
    """
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + "".join(letter if letter.isprintable() else "\ufffd" for letter in plain) + '"'
