"""Which GPUs of which nodes a copy takes, and which of its ranks stand there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.topology import first_gpu


@dataclass(frozen=True, kw_only=True)
class Seat:
    """Ranks of a copy that one process starts. index: of the copy among those that start on its first node.

    role: which of the copy's servers. answers: whether requests go to this process.
    """

    role: str
    node: int
    node_rank: int
    gpus: tuple[int, ...]
    ranks: tuple[int, ...]
    index: int
    answers: bool


def seats_of(replica: int, roles: Sequence[tuple[str, int]], cluster: Cluster) -> tuple[Seat, ...]:
    """The seats of a copy whose servers have so many ranks each, in the engine's order of ranks.

    A server has as many ranks on each of its nodes. Several on one node follow each other; where they do not
    fit in one, each has a node of its own.
    """
    size, width = sum(ranks for _, ranks in roles), cluster.gpus_per_node
    first_node, offset = divmod(first_gpu(replica, size, width, cluster.nodes_per_domain), width)
    index = offset // size if size <= width else 0
    if len(roles) == 1:
        return tuple(_over_nodes(roles[0], first_node, offset, index, width))
    seats, first_rank = [], 0
    for number, (role, ranks) in enumerate(roles):
        together = size <= width
        start = offset + first_rank if together else 0
        seats.append(
            Seat(
                role=role,
                node=first_node + (0 if together else number),
                node_rank=0 if together else number,
                gpus=tuple(range(start, start + ranks)),
                ranks=tuple(range(first_rank, first_rank + ranks)),
                index=index,
                answers=number == len(roles) - 1,
            )
        )
        first_rank += ranks
    return tuple(seats)


def _over_nodes(
    role: tuple[str, int], first_node: int, offset: int, index: int, width: int
) -> Iterator[Seat]:
    name, size = role
    nodes = -(-size // width)
    here = size // nodes
    for node_rank in range(nodes):
        yield Seat(
            role=name,
            node=first_node + node_rank,
            node_rank=node_rank,
            gpus=tuple(range(offset, offset + here)),
            ranks=tuple(range(node_rank * here, (node_rank + 1) * here)),
            index=index,
            answers=node_rank == 0,
        )
