"""Where: identical nodes of identical GPUs, and the tier of link between any two of them."""

from typing import Literal

from pydantic import Field

from shardwright.cluster.device import Device, Link
from shardwright.record import Record

Tier = Literal["self", "node", "network"]


class Cluster(Record):
    """`nodes` x `gpus_per_node` GPUs. GPU g sits on node g // gpus_per_node; rank r runs on GPU r."""

    device: Device
    scale_up: Link
    scale_out: Link
    nodes: int = Field(strict=True, ge=1, le=8192)
    gpus_per_node: int = Field(strict=True, ge=1, le=576)

    @property
    def num_gpus(self) -> int:
        """GPUs of the whole cluster."""
        return self.nodes * self.gpus_per_node

    def node_of(self, rank: int) -> int:
        """The node that holds rank `rank`."""
        return rank // self.gpus_per_node

    def tier(self, a: int, b: int) -> Tier:
        """What joins ranks a and b: nothing to cross, the node's own links, or the network."""
        if a == b:
            return "self"
        return "node" if self.node_of(a) == self.node_of(b) else "network"
