"""Seconds of a collective inside one scale-up domain.

    t = a + b n + s sqrt(t_bw) + t_bw / e

n: ranks. t_bw: the bytes that a rank passes on, over its links at their data-sheet rate. a, b and s in
microseconds (s where t_bw is in microseconds): starting, meeting the other ranks, and the range in which
messages are neither small nor large.
"""

from typing import Literal

import numpy as np

from shardwright.cluster.device import Link
from shardwright.cost.law import US, Law
from shardwright.record import Size

Collective = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]

PASSES: dict[Collective, int] = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "all_to_all": 1}
"""How often (n - 1) / n of the buffer goes over a rank's links: the bus bandwidth of nccl-tests,
PERFORMANCE.md."""


class CollectiveLaw(Law):
    """library: NCCL's collectives, or an engine's own kernels."""

    FEATURES = ("bytes", "ranks")

    collective: Collective
    library: Literal["nccl", "engine"]
    a: float
    b: float
    s: float
    e: float

    def start_seconds(self, num_ranks: Size) -> Size:
        """What a collective of no bytes takes."""
        return (self.a + self.b * num_ranks) * US


def collective_form_seconds(law: CollectiveLaw, link: Link, num_ranks: Size, payload_bytes: Size) -> Size:
    """The form alone; payload_bytes is the whole buffer of one rank, of a gather the gathered one."""
    wire = passed_bytes(law.collective, num_ranks, payload_bytes) / link.bandwidth_bytes_per_s
    return law.start_seconds(num_ranks) + law.s * np.sqrt(wire * US) + wire / law.e


def collective_seconds(law: CollectiveLaw, link: Link, num_ranks: Size, payload_bytes: Size) -> Size:
    """The form and its table."""
    form_s = collective_form_seconds(law, link, num_ranks, payload_bytes)
    return law.corrected(form_s, collective_features(num_ranks, payload_bytes))


def collective_features(num_ranks: Size, payload_bytes: Size) -> dict[str, Size]:
    """What the table of a law goes by."""
    return {"bytes": payload_bytes, "ranks": num_ranks}


def passed_bytes(collective: Collective, num_ranks: Size, payload_bytes: Size) -> Size:
    """Bytes that one rank sends."""
    ranks: Size = np.maximum(np.asarray(num_ranks, dtype=float), 1)
    return PASSES[collective] * (ranks - 1) / ranks * payload_bytes
