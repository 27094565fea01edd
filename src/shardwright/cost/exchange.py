"""Seconds of DeepEP's dispatch and combine, and which rows leave by which links.

    t = t0 + hop log2(nodes) + pnorm(near_bytes / up / near, far_bytes / out / far)

up, out: rates of the links inside a node and between nodes; near, far: the shares of them that the kernels
reach. Normal kernels send a row once to each node that holds any of a token's experts, to the rank of the
sender's own place there, which forwards it to the ranks that hold them; low-latency kernels send it once for
each expert, straight to its rank. t0 and hop are microseconds. Source: DeepEP, github.com/deepseek-ai/DeepEP,
docs/legacy.md (version 1).
"""

from dataclasses import dataclass

import numpy as np

from shardwright.cluster.cluster import Cluster
from shardwright.cost.law import US, Law, pnorm
from shardwright.record import Record, Size
from shardwright.steps.operation import Exchange, ExchangeKernel, Operation

POWER = 4
"""Of the norm: the two kinds of links work at the same time, and share the SMs that feed them."""


class ExchangeForm(Record):
    """The constants of the form."""

    t0: float
    hop: float
    near: float
    far: float


class ExchangeLaw(Law, ExchangeForm):
    """The form of one kernel in one direction, and its table."""

    FEATURES = ("bytes", "nodes", "copies", "row", "experts")

    exchange: ExchangeKernel
    combines: bool


@dataclass(frozen=True, kw_only=True)
class Leaving(Operation):
    """One direction of an exchange, as the links of the busiest rank see it.

    sent_bytes: all rows, those that stay on the rank included. near_bytes: to or from ranks of its own node,
    rows that it forwards included. far_bytes: to or from other nodes. copies: rows that a token becomes.
    """

    family = "exchange"
    sent_bytes: Size
    near_bytes: Size
    far_bytes: Size
    nodes: Size
    copies: Size
    row_bytes: Size
    num_experts: Size


def leaving(operation: Exchange, nodes: Size) -> Leaving:
    """The rows by link, experts spread evenly over the ranks of `nodes` nodes."""
    spread, sent_bytes = operation.spread, operation.payload_bytes
    assert spread is not None
    local = np.maximum(1.0, np.asarray(operation.num_ranks) / nodes)
    away, beside = (nodes - 1) / nodes, (local - 1) / local
    if operation.kernel == "normal":
        # Rows to other nodes are forwarded there as this rank forwards theirs: each delivered row goes over
        # the links of one node, but for those that arrive at the right rank.
        copies = spread.parts_hit(operation.num_ranks)
        near, far = beside, away * spread.parts_hit(nodes) / copies
    else:
        copies, near, far = spread.top_k, beside / nodes, away
    return Leaving(
        name=operation.name,
        sent_bytes=sent_bytes,
        near_bytes=sent_bytes * near,
        far_bytes=sent_bytes * far,
        nodes=nodes,
        copies=copies,
        row_bytes=operation.row_bytes,
        num_experts=spread.num_experts,
    )


def exchange_form_seconds(rows: Leaving, cluster: Cluster, law: ExchangeForm) -> Size:
    """The form alone."""
    near = rows.near_bytes / cluster.scale_up.bandwidth_bytes_per_s / law.near
    far = rows.far_bytes / cluster.between_bytes_per_s / law.far
    start = (law.t0 + law.hop * np.log2(np.maximum(rows.nodes, 1))) * US
    return start + pnorm(POWER, near, far)


def exchange_features(rows: Leaving) -> dict[str, Size]:
    """What the table of a law goes by."""
    return {
        "bytes": rows.sent_bytes,
        "nodes": rows.nodes,
        "copies": rows.copies,
        "row": rows.row_bytes,
        "experts": rows.num_experts,
    }
