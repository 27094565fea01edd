"""Seconds of the communication operations over groups that may span nodes.

A group of n ranks touches `nodes` nodes, n / nodes ranks on each. Inside a node the measured laws hold
(collectives.py, exchange.py); between nodes messages cost the link's latency and bytes go at its data-sheet
rate times the same efficiency, one NIC a GPU. A node is here what one scale-up domain joins, also where that
is several machines (NVL72).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shardwright.cluster.cluster import Cluster
from shardwright.cost.collectives import Collective, CollectiveLaw, collective_seconds, passed_bytes
from shardwright.cost.constants import constants
from shardwright.cost.exchange import (
    ExchangeForm,
    ExchangeLaw,
    Leaving,
    exchange_features,
    exchange_form_seconds,
    leaving,
)
from shardwright.cost.law import US
from shardwright.cost.profile import Profile
from shardwright.engine.engine import Kernels, OwnSums
from shardwright.record import Size
from shardwright.steps.operation import AllReduce, Communication, Exchange, Gather, Transfer

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Wires:
    """The links of a cluster, how many nodes the groups of each axis touch at most, and the laws that price.

    kernels, own_sums: of the engine.
    """

    cluster: Cluster
    profile: Profile
    kernels: Kernels
    own_sums: OwnSums | None
    nodes: dict[str, Size]

    @cached_property
    def library(self) -> dict[Collective, CollectiveLaw]:
        """NCCL's laws."""
        return {law.collective: law for law in self.profile.collectives if law.library == "nccl"}

    @cached_property
    def own_sum(self) -> CollectiveLaw | None:
        """The engine's own sum, where it has one and somebody measured it."""
        if self.own_sums is None:
            return None
        laws = (law for law in self.profile.collectives if law.library == "engine")
        return next((law for law in laws if law.kernels == self.kernels), None)

    def exchange_law(self, operation: Exchange) -> ExchangeForm:
        """The law of DeepEP's kernel on this device, else the one fitted to what its makers published."""
        if self.profile.device == self.cluster.device.name:
            for law in self.profile.exchanges:
                if (law.exchange, law.combines) == (operation.kernel, operation.combines):
                    return law
        return constants().exchange[operation.kernel]


def all_reduce_seconds(operation: AllReduce, wires: Wires) -> Size:
    """In a node the measured law; over nodes the faster of NCCL's ring and tree, as NCCL chooses itself.

    Both run on as many channels as a node has NICs, one a GPU, so that a NIC carries its share of the buffer
    while the node's links carry all of it. Ring: 2 (n - 1) steps, 2 (nodes - 1) of them between nodes, and
    2 (n - 1) / n of the bytes; tree: 2 (local - 1) steps in the node, 2 log2(nodes) between nodes, every
    byte up and down. Source: NCCL, src/graph/tuning.cc.
    """

    def seconds(num_ranks: Floats, payload: Floats, touched: Floats) -> Size:
        inside = _own_or_library(num_ranks, payload, wires)
        nodes, local = _split(num_ranks, touched)
        if not np.any(nodes > 1):
            return inside
        passed = passed_bytes("all_reduce", num_ranks, payload)
        ring = _over_nodes(num_ranks + 1 - nodes, 2 * (nodes - 1), passed, local, wires)
        tree = _over_nodes(local, 2 * np.log2(nodes), 2.0 * payload, local, wires)
        return np.where(nodes > 1, np.minimum(ring, tree), inside)

    return _of_several(seconds, operation, wires)


def _of_several(
    seconds: Callable[[Floats, Floats, Floats], Size], operation: Communication, wires: Wires
) -> Size:
    """`seconds` of (ranks, payload, nodes) where there are several ranks; one alone has nothing to do."""
    given = (operation.num_ranks, operation.payload_bytes, wires.nodes[operation.axis])
    sizes = np.broadcast_arrays(*(np.asarray(size, dtype=float) for size in given))
    several = sizes[0] > 1
    if several.all():
        return seconds(*sizes)
    found = np.zeros(several.shape)
    if several.any():
        found[several] = seconds(*(size[several] for size in sizes))
    return found


def _own_or_library(num_ranks: Size, payload_bytes: Size, wires: Wires) -> Size:
    """By the engine's own kernels up to its switch point, beyond it by the library."""
    link = wires.cluster.scale_up
    seconds = collective_seconds(wires.library["all_reduce"], link, num_ranks, payload_bytes)
    if wires.own_sums is None or wires.own_sum is None:
        return seconds
    joined = wires.cluster.gpus_per_domain if wires.own_sums.across_nodes else wires.cluster.gpus_per_node
    largest = wires.own_sums.largest_bytes(wires.cluster.device, num_ranks)
    own = (payload_bytes <= largest) & (np.asarray(num_ranks) <= joined)
    if not np.any(own):
        return seconds
    return np.where(own, collective_seconds(wires.own_sum, link, num_ranks, payload_bytes), seconds)


def _over_nodes(near_steps: Size, far_steps: Size, wire_bytes: Size, local: Size, wires: Wires) -> Size:
    """An all-reduce pipelined over nodes: its steps' latencies, and the slower kind of link."""
    law, cluster = wires.library["all_reduce"], wires.cluster
    near = np.asarray(wire_bytes) / cluster.scale_up.bandwidth_bytes_per_s * (np.asarray(local) > 1)
    far = np.asarray(wire_bytes) / local / cluster.between_bytes_per_s
    latency_s = law.start_seconds(near_steps) + far_steps * cluster.scale_out.latency_s
    return latency_s + law.s * np.sqrt(near * US) + np.maximum(near, far) / law.e


def gather_seconds(operation: Gather, wires: Wires) -> Size:
    """All-gather or reduce-scatter: half of an all-reduce, level by level."""
    law = wires.library["reduce_scatter" if operation.reduces else "all_gather"]

    def seconds(num_ranks: Floats, payload: Floats, touched: Floats) -> Size:
        nodes, local = _split(num_ranks, touched)
        across = _across(law, nodes, (nodes - 1) / nodes * payload / local, wires)
        return _inside(law, local, payload, wires) + across

    return _of_several(seconds, operation, wires)


def exchange_seconds(operation: Exchange, wires: Wires) -> Size:
    """Dispatch or combine: rows that leave the node use the NIC, the others the node's links, at the same
    time.

    Folded, experts are spread evenly over the group's nodes; dedicated experts that share no node with all
    of their attention ranks are taken to be on another one.
    """
    num_ranks = np.asarray(operation.num_ranks, dtype=float)
    if not np.any(num_ranks > 1):
        return np.zeros(num_ranks.shape)
    nodes, local = _split(num_ranks, wires.nodes[operation.axis])
    if operation.spread is not None:
        return np.where(num_ranks > 1, _by_deepep(operation, nodes, wires), 0.0)
    law = wires.library["all_to_all"]
    leaving_bytes = operation.payload_bytes * operation.remote
    elsewhere = 1.0 if operation.dedicated else (nodes - 1) / nodes
    off_node = np.where(nodes > 1, elsewhere, 0.0)
    near = leaving_bytes * (1 - off_node) * local / np.maximum(local - 1, 1)
    inside = _inside(law, local, near, wires)
    across = _across(law, nodes, leaving_bytes * off_node, wires)
    return np.where(num_ranks > 1, np.maximum(inside, across), 0.0)


def _by_deepep(operation: Exchange, nodes: Size, wires: Wires) -> Size:
    rows, law = leaving(operation, nodes), wires.exchange_law(operation)
    seconds = exchange_form_seconds(rows, wires.cluster, law)
    return law.corrected(seconds, exchange_features(rows)) if isinstance(law, ExchangeLaw) else seconds


def transfer_seconds(operation: Transfer, wires: Wires) -> Size:
    """One message to the neighbour stage, as one of the two of an all-to-all of two ranks; the receiver waits
    while the sender is priced."""
    num_ranks = np.asarray(operation.num_ranks)
    if not operation.sends or not np.any(num_ranks > 1):
        return np.zeros(num_ranks.shape)
    leaves_node, law = np.asarray(wires.nodes["pp"]) > 1, wires.library["all_to_all"]
    inside = _inside(law, np.asarray(2.0), 2 * operation.payload_bytes, wires)
    across = _across(law, np.asarray(2.0), operation.payload_bytes, wires)
    return np.where(num_ranks > 1, np.where(leaves_node, across, inside), 0.0)


def start_seconds(operation: Communication, wires: Wires) -> Size:
    """What an operation over these ranks takes at least, on one node, whatever its bytes."""
    if isinstance(operation, Exchange) and operation.spread is not None:
        return wires.exchange_law(operation).t0 * US
    return wires.library[_collective_of(operation)].start_seconds(operation.num_ranks)


def law_inside(operation: Communication, wires: Wires) -> CollectiveLaw:
    """The law of one layout's operation in a node: the engine's own sum up to its switch point, or NCCL's."""
    own = wires.own_sum
    if isinstance(operation, AllReduce) and own is not None and wires.own_sums is not None:
        largest = wires.own_sums.largest_bytes(wires.cluster.device, operation.num_ranks)
        if float(operation.payload_bytes) <= float(largest):
            return own
    return wires.library[_collective_of(operation)]


def leaving_rows(operation: Exchange, wires: Wires) -> Leaving:
    """The rows of a DeepEP exchange by link."""
    return leaving(operation, _split(operation.num_ranks, wires.nodes[operation.axis])[0])


def _collective_of(operation: Communication) -> Collective:
    if isinstance(operation, AllReduce):
        return "all_reduce"
    if isinstance(operation, Gather):
        return "reduce_scatter" if operation.reduces else "all_gather"
    return "all_to_all"


def _split(num_ranks: Size, nodes: Size) -> tuple[Size, Size]:
    """(nodes, ranks a node)."""
    touched = np.maximum(1.0, np.asarray(nodes, dtype=float))
    return touched, np.maximum(1.0, np.asarray(num_ranks) / touched)


def _inside(law: CollectiveLaw, num_ranks: Size, payload_bytes: Size, wires: Wires) -> Size:
    seconds = collective_seconds(law, wires.cluster.scale_up, num_ranks, payload_bytes)
    return np.where(np.asarray(num_ranks) > 1, seconds, 0.0)


def _across(law: CollectiveLaw, nodes: Size, wire_bytes: Size, wires: Wires) -> Size:
    if not np.any(np.asarray(nodes) > 1):
        return np.zeros(np.shape(nodes))
    steps = np.log2(np.maximum(nodes, 2.0))
    wire = np.asarray(wire_bytes) / wires.cluster.between_bytes_per_s / law.e
    seconds = law.a * US + steps * wires.cluster.scale_out.latency_s + wire
    return np.where(np.asarray(nodes) > 1, seconds, 0.0)
