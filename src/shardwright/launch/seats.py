"""Which GPUs of which nodes a copy takes, and which of its ranks stand there."""

from dataclasses import dataclass

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.topology import first_gpu


@dataclass(frozen=True, kw_only=True)
class Seat:
    """The part of a copy on one node. place: of the copy among those that start on this node."""

    node: int
    node_rank: int
    gpus: tuple[int, ...]
    ranks: tuple[int, ...]
    place: int


def num_nodes(num_gpus: int, cluster: Cluster) -> int:
    """Nodes of a copy of so many GPUs when none is left idle between them."""
    return -(-num_gpus // cluster.gpus_per_node)


def seats_of(replica: int, num_gpus: int, cluster: Cluster) -> tuple[Seat, ...]:
    """The nodes of a copy, each with as many GPUs, its ranks in the engine's order, node by node.

    The number of its nodes divides num_gpus.
    """
    nodes, width = num_nodes(num_gpus, cluster), cluster.gpus_per_node
    here = num_gpus // nodes
    first_node, offset = divmod(first_gpu(replica, num_gpus, width, cluster.nodes_per_domain), width)
    return tuple(
        Seat(
            node=first_node + node_rank,
            node_rank=node_rank,
            gpus=tuple(range(offset, offset + here)),
            ranks=tuple(range(node_rank * here, (node_rank + 1) * here)),
            place=offset // num_gpus if nodes == 1 else 0,
        )
        for node_rank in range(nodes)
    )
