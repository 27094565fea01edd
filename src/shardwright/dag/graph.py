"""The execution graph: every operation of every worker, and what must have ended before it begins."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from shardwright.dag.chain import Chain, Post
from shardwright.dag.worker import Worker
from shardwright.errors import ShardwrightError
from shardwright.steps.operation import Communication, Exchange, Operation, Transfer


class ProgramError(ShardwrightError):
    """The programs of the ranks do not fit together: named by ranks and operations."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of one worker for one micro-batch (None: of all) of one step.

    number: its place among the nodes. after: nodes that must have ended, of its own chain or elsewhere.
    meets: the node of another worker that is the other side of the same exchange: both begin and end
    together. seconds: what it takes when nothing slows it down.
    """

    number: int
    worker: int
    stage: int
    step: int
    micro_batch: int | None
    chain: int
    operation: Operation
    seconds: float
    after: tuple[int, ...]
    meets: int | None = None


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which each stands after its own chain's earlier ones."""

    workers: tuple[Worker, ...]
    nodes: tuple[Node, ...]

    def before(self, node: Node) -> tuple[int, ...]:
        """Numbers of the nodes that must have ended before this one begins, its other side's included."""
        return node.after if node.meets is None else node.after + self.nodes[node.meets].after

    def where(self, node: Node) -> str:
        """A node in words, for messages: 'rank 4 (stage 0 experts), micro-batch 1: dispatch of layer 3'."""
        worker = self.workers[node.worker]
        return _where(worker, node.micro_batch, node.operation)


Seconds = Callable[[Operation], float]
"""What one operation takes."""


_Meeting = tuple[tuple[int, ...], int, int, int | None]
"""(peers, stage, step, micro-batch) of an exchange."""


_Line = tuple[tuple[int, ...], int, int | None]
"""(peers, step, micro-batch) of a transfer."""


def build_graph(
    workers: tuple[Worker, ...],
    recorded: Iterable[Chain],
    seconds: Seconds,
    sizes: Mapping[str, int],
    *,
    serial: bool = False,
) -> Graph:
    """The graph of the chains, in their order. serial: a micro-batch begins when the one before has ended.

    sizes: ranks in a group of each axis. Edges are of data and of order: within a chain; from a send to its
    receive; from the last stage to the first one's next step. Raises ProgramError where posts are over
    another group, have no counterpart, or wait for each other.
    """
    nodes: list[Node] = []
    held = list(recorded)
    first: list[int] = []
    for index, chain in enumerate(held):
        first.append(len(nodes))
        for place, post in enumerate(chain.posts):
            number = len(nodes)
            _check_group(chain.worker, post, sizes)
            nodes.append(
                Node(
                    number=number,
                    worker=chain.worker.number,
                    stage=chain.stage,
                    step=chain.step,
                    micro_batch=post.micro_batch,
                    chain=index,
                    operation=post.operation,
                    seconds=seconds(post.operation),
                    after=(number - 1,) if place else (),
                )
            )
    more: dict[int, list[int]] = defaultdict(list)
    meets: dict[int, int] = {}
    _match_transfers(held, first, more)
    _match_exchanges(held, first, meets)
    _order_steps(held, first, more, serial=serial)
    graph = Graph(workers, tuple(_tied(node, more, meets) for node in nodes))
    causal_order(graph)
    return graph


def _check_group(worker: Worker, post: Post, sizes: Mapping[str, int]) -> None:
    """A communication is over a whole group of its axis, and inside a worker unless it has two sides."""
    operation = post.operation
    if not isinstance(operation, Communication):
        return
    if sizes.get(operation.axis) != operation.num_ranks:
        has = sizes.get(operation.axis, "no ranks")
        said = f"is over {operation.num_ranks:g} ranks of {operation.axis}, whose groups have {has}"
        raise ProgramError(f"{_where(worker, post.micro_batch, operation)} {said}")
    two_sided = isinstance(operation, Transfer) or (isinstance(operation, Exchange) and operation.dedicated)
    if worker.number not in post.peers or len(post.peers) != 1 + two_sided:
        raise ProgramError(f"{_where(worker, post.micro_batch, operation)} is among workers {post.peers}")


def _tied(node: Node, more: dict[int, list[int]], meets: dict[int, int]) -> Node:
    number = node.number
    if number not in more and number not in meets:
        return node
    return replace(node, after=node.after + tuple(more.get(number, ())), meets=meets.get(number))


def _match_transfers(held: list[Chain], first: list[int], more: dict[int, list[int]]) -> None:
    """Every send has its receive, of as many bytes; two chains receive in the order in which they send."""
    sent: dict[_Line, tuple[int, Chain, Post]] = {}
    due: dict[_Line, tuple[int, Chain, Post]] = {}
    for start, chain in zip(first, held, strict=True):
        for place, post in enumerate(chain.posts):
            if isinstance(post.operation, Transfer):
                side = sent if post.operation.sends else due
                key = (post.peers, chain.step, post.micro_batch)
                if key in side:
                    raise ProgramError(
                        f"{_where(chain.worker, post.micro_batch, post.operation)} is there twice"
                    )
                side[key] = (start + place, chain, post)
    for key in (*sent, *due):
        if key not in sent or key not in due:
            _, chain, post = (sent | due)[key]
            missing = "is never received" if key in sent else "is never sent"
            raise ProgramError(f"{_where(chain.worker, post.micro_batch, post.operation)} {missing}")
        (_, chain, post), (_, other, got) = sent[key], due[key]
        _same_bytes((chain, post), (other, got))
    latest: dict[object, tuple[int, str]] = {}
    for key, (source, chain, post) in sent.items():
        number, other, got = due[key]
        line, said = (
            (post.peers, chain.step, chain.micro_batch, other.micro_batch),
            _where(other.worker, got.micro_batch, got.operation),
        )
        before, overtaken = latest.get(line, (-1, ""))
        if number < before:
            raise ProgramError(f"{said} comes before {overtaken}, which was sent first")
        latest[line] = number, said
        more[number].append(source)


def _same_bytes(one: tuple[Chain, Post], two: tuple[Chain, Post]) -> None:
    sizes = [float(post.operation.bytes) for _, post in (one, two)]
    if sizes[0] != sizes[1]:
        sides = [_where(chain.worker, post.micro_batch, post.operation) for chain, post in (one, two)]
        raise ProgramError(f"{' and '.join(sides)} are of {sizes[0]:.0f} and {sizes[1]:.0f} bytes")


def _match_exchanges(held: list[Chain], first: list[int], meets: dict[int, int]) -> None:
    """Exchanges of two workers happen on both sides, in the same order."""
    sides: dict[_Meeting, dict[int, list[tuple[int, Chain, Post]]]] = defaultdict(lambda: defaultdict(list))
    for start, chain in zip(first, held, strict=True):
        for place, post in enumerate(chain.posts):
            if isinstance(post.operation, Exchange) and len(post.peers) > 1:
                key = (post.peers, chain.stage, chain.step, post.micro_batch)
                sides[key][chain.worker.number].append((start + place, chain, post))
    for (peers, _, _, _), by_worker in sides.items():
        lists = [by_worker.get(peer, []) for peer in peers]
        for pair in zip(*lists, strict=False):
            (one, chain, post), (two, other, got) = pair
            if (post.operation.name, post.operation.layer) != (got.operation.name, got.operation.layer):
                said = [
                    _where(c.worker, p.micro_batch, p.operation) for c, p in ((chain, post), (other, got))
                ]
                raise ProgramError(f"{said[0]} meets {said[1]}")
            _same_bytes((chain, post), (other, got))
            meets[one], meets[two] = two, one
        longest = max(lists, key=len)
        fewest = min(map(len, lists))
        if fewest < len(longest):
            _, chain, post = longest[fewest]
            raise ProgramError(f"{_where(chain.worker, post.micro_batch, post.operation)} has no other side")


def _order_steps(held: list[Chain], first: list[int], more: dict[int, list[int]], *, serial: bool) -> None:
    """A sequence's next step begins at the first stage when its token is there."""
    last_stage = max(chain.stage for chain in held)
    ends: dict[tuple[int, int], int] = {}
    begins: dict[tuple[int, int], int] = {}
    for start, chain in zip(first, held, strict=True):
        if chain.worker.role == "experts":
            continue
        if chain.stage == last_stage:
            ends[chain.step, chain.micro_batch] = start + len(chain.posts) - 1
        if chain.stage == 0:
            begins[chain.step, chain.micro_batch] = start
    before: tuple[int, int] | None = None
    for key, start in begins.items():
        step, micro_batch = key
        if step:
            more[start].append(ends[step - 1, micro_batch])
        if serial and before is not None:
            more[start].append(ends[before])
        before = key


def causal_order(graph: Graph) -> list[Node]:
    """The nodes, each after all that it waits for. Raises ProgramError where they wait for each other."""
    waits: dict[int, int] = {}
    followers: dict[int, list[int]] = defaultdict(list)
    for node in graph.nodes:
        before = graph.before(node)
        waits[node.number] = len(before)
        for other in before:
            followers[other].append(node.number)
    ready = [number for number, count in waits.items() if not count]
    found: list[Node] = []
    while ready:
        number = ready.pop()
        found.append(graph.nodes[number])
        del waits[number]
        for follower in followers[number]:
            waits[follower] -= 1
            if not waits[follower]:
                ready.append(follower)
    if waits:
        stuck = {node.worker: node for node in reversed(graph.nodes) if node.number in waits}
        lines = [graph.where(stuck[worker]) for worker in sorted(stuck)]
        raise ProgramError("deadlock: no rank can go on\n  " + "\n  ".join(lines[:16]))
    return found


def _where(worker: Worker, micro_batch: int | None, operation: Operation) -> str:
    layer = "" if operation.layer is None else f" of layer {operation.layer}"
    batch = "all micro-batches" if micro_batch is None else f"micro-batch {micro_batch}"
    return f"rank {worker.ranks[0]} ({worker.name}), {batch}: {operation.name}{layer}"
