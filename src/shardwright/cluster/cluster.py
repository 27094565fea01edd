"""Where: identical nodes of identical GPUs, and the tier of link between any two of them."""

from typing import Literal

from pydantic import Field

from shardwright.cluster.device import Device, Link
from shardwright.record import Record

Tier = Literal["self", "scale_up", "scale_out"]


class Cluster(Record):
    """`nodes` x `gpus_per_node` GPUs. GPU g sits on node g // gpus_per_node; rank r runs on GPU r.

    A scale-up domain is the GPUs that scale_up joins: those of one node, or of several nodes in a row
    (NVL72). The last domain may be smaller.
    """

    device: Device
    scale_up: Link
    scale_out: Link
    nodes: int = Field(strict=True, ge=1, le=8192)
    gpus_per_node: int = Field(strict=True, ge=1, le=576)
    nodes_per_domain: int = Field(default=1, strict=True, ge=1, le=576)
    oversubscription: float = Field(default=1.0, ge=1, le=100)
    """How many times more the NICs below a leaf switch can send than the links above it carry. All traffic
    between domains is taken to cross a leaf; 1 (a fabric that does not block) also where it stays below
    one."""

    @property
    def num_gpus(self) -> int:
        """GPUs of the whole cluster."""
        return self.nodes * self.gpus_per_node

    @property
    def gpus_per_domain(self) -> int:
        """GPUs of one scale-up domain."""
        return self.nodes_per_domain * self.gpus_per_node

    @property
    def between_bytes_per_s(self) -> float:
        """What a GPU has between domains while all of them send: one direction, data-sheet rate."""
        return self.scale_out.bandwidth_bytes_per_s / self.oversubscription

    def node_of(self, rank: int) -> int:
        """The node that holds rank `rank`."""
        return rank // self.gpus_per_node

    def tier(self, a: int, b: int) -> Tier:
        """What joins ranks a and b: nothing to cross, the links of a domain, or the network between them."""
        if a == b:
            return "self"
        return "scale_up" if a // self.gpus_per_domain == b // self.gpus_per_domain else "scale_out"
