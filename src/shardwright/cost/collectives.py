"""Seconds of the communication operations over groups that may span nodes.

A group of n ranks touches `nodes` nodes, n / nodes ranks on each. Inside a node the measured form
a + b n + s sqrt(t_bw) + t_bw / e holds (constants.yaml); between nodes messages cost the link's latency
and bytes go at its data-sheet rate times the same efficiency, one NIC a GPU. A node is here what one scale-up
domain joins, also where that is several machines (NVL72).
"""

from dataclasses import dataclass

import numpy as np

from shardwright.cluster.cluster import Cluster
from shardwright.cost.constants import CollectiveConstants
from shardwright.cost.profile import Profile
from shardwright.engine.engine import Kernels
from shardwright.record import Size
from shardwright.steps.operation import AllReduce, Exchange, Gather, Transfer

US = 1e-6


@dataclass(frozen=True, kw_only=True)
class Wires:
    """The links of a cluster, how many nodes the groups of each axis touch at most, and what prices them."""

    cluster: Cluster
    profile: Profile
    kernels: Kernels
    law: CollectiveConstants
    nodes: dict[str, Size]


def all_reduce_seconds(operation: AllReduce, wires: Wires) -> Size:
    """In a node the measured form; over nodes the faster of NCCL's ring and tree, as NCCL chooses itself.

    Both run on as many channels as a node has NICs, one a GPU, so that a NIC carries its share of the buffer
    while the node's links carry all of it. Ring: 2 (n - 1) steps, 2 (nodes - 1) of them between nodes, and
    2 (n - 1) / n of the bytes; tree: 2 (local - 1) steps in the node, 2 log2(nodes) between nodes, every
    byte up and down. Source: NCCL, src/graph/tuning.cc.
    """
    num_ranks, payload = np.asarray(operation.num_ranks, dtype=float), operation.payload_bytes
    nodes, local = _split(num_ranks, wires.nodes[operation.axis])
    passed = 2 * (num_ranks - 1) / np.maximum(num_ranks, 1) * payload
    alone = _inside(num_ranks, passed, wires)
    ring = _over_nodes(num_ranks + 1 - nodes, 2 * (nodes - 1), passed, local, wires)
    tree = _over_nodes(local, 2 * np.log2(nodes), 2.0 * payload, local, wires)
    return np.where(num_ranks > 1, np.where(nodes > 1, np.minimum(ring, tree), alone), 0.0)


def _over_nodes(near_steps: Size, far_steps: Size, wire_bytes: Size, local: Size, wires: Wires) -> Size:
    """An all-reduce pipelined over nodes: its steps' latencies, and the slower kind of link."""
    law, link = wires.law, wires.cluster.scale_out
    near = np.asarray(wire_bytes) / wires.cluster.scale_up.bandwidth_bytes_per_s * (np.asarray(local) > 1)
    far = np.asarray(wire_bytes) / local / link.bandwidth_bytes_per_s
    latency_s = (law.a + law.b * near_steps) * US + far_steps * link.latency_s
    return latency_s + law.s * np.sqrt(near * US) + np.maximum(near, far) / law.e


def gather_seconds(operation: Gather, wires: Wires) -> Size:
    """All-gather or reduce-scatter: half of an all-reduce, level by level."""
    nodes, local = _split(operation.num_ranks, wires.nodes[operation.axis])
    inside = _inside(local, (local - 1) / local * operation.payload_bytes, wires)
    across = _across(nodes, (nodes - 1) / nodes * operation.payload_bytes / local, 1, wires)
    return np.where(np.asarray(operation.num_ranks) > 1, inside + across, 0.0)


def exchange_seconds(operation: Exchange, wires: Wires) -> Size:
    """An all-to-all: rows that leave the node use the NIC, the others the node's links, at the same time.

    Folded, experts are spread evenly over the group's nodes; dedicated experts that share no node with all
    of their attention ranks are taken to be on another one.
    """
    nodes, local = _split(operation.num_ranks, wires.nodes[operation.axis])
    leaving = operation.payload_bytes * operation.remote
    elsewhere = 1.0 if operation.dedicated else (nodes - 1) / nodes
    off_node = np.where(nodes > 1, elsewhere, 0.0)
    inside = _inside(local, leaving * (1 - off_node), wires)
    across = _across(nodes, leaving * off_node, 1, wires)
    return np.where(np.asarray(operation.num_ranks) > 1, np.maximum(inside, across), 0.0)


def transfer_seconds(operation: Transfer, wires: Wires) -> Size:
    """One message to the neighbour stage; the receiver waits while the sender is priced."""
    if not operation.sends:
        return np.zeros(np.shape(operation.num_ranks))
    leaves_node = np.asarray(wires.nodes["pp"]) > 1
    inside = _inside(2.0, operation.payload_bytes, wires)
    across = _across(2.0, operation.payload_bytes, 1, wires)
    return np.where(np.asarray(operation.num_ranks) > 1, np.where(leaves_node, across, inside), 0.0)


def _split(num_ranks: Size, nodes: Size) -> tuple[Size, Size]:
    """(nodes, ranks a node)."""
    touched = np.maximum(1.0, np.asarray(nodes, dtype=float))
    return touched, np.maximum(1.0, np.asarray(num_ranks) / touched)


def _inside(num_ranks: Size, wire_bytes: Size, wires: Wires) -> Size:
    law = wires.law
    wire = np.asarray(wire_bytes) / wires.cluster.scale_up.bandwidth_bytes_per_s
    seconds = (law.a + law.b * num_ranks) * US + law.s * np.sqrt(wire * US) + wire / law.e
    return np.where(np.asarray(num_ranks) > 1, seconds, 0.0)


def _across(nodes: Size, wire_bytes: Size, passes: int, wires: Wires) -> Size:
    link = wires.cluster.scale_out
    steps = passes * np.log2(np.maximum(nodes, 2.0))
    wire = np.asarray(wire_bytes) / link.bandwidth_bytes_per_s / wires.law.e
    return np.where(np.asarray(nodes) > 1, wires.law.a * US + steps * link.latency_s + wire, 0.0)
