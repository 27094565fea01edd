"""The forms that a program's collectives take."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from shardwright.engine.engine import ExchangeMode
from shardwright.model.spec import ModelSpec
from shardwright.record import Size
from shardwright.steps.load import Load
from shardwright.steps.operation import AllReduce, ExchangeKernel, Gather, Operation, Phase

KERNELS: dict[ExchangeMode, dict[Phase, ExchangeKernel | Literal["gather"]]] = {
    "gather": {"prefill": "gather", "decode": "gather"},
    "all_to_all": {"prefill": "all_to_all", "decode": "all_to_all"},
    "deepep": {"prefill": "normal", "decode": "low_latency"},
    "deepep_normal": {"prefill": "normal", "decode": "normal"},
    "deepep_low_latency": {"prefill": "low_latency", "decode": "low_latency"},
}
"""What moves tokens to their experts in each phase."""


@dataclass(frozen=True, kw_only=True)
class Forms:
    """exchange: how tokens reach experts.

    near_ranks: neighbours of a TP group, on one node, that sum among themselves first; 1 is a flat sum.
    """

    exchange: ExchangeMode = "all_to_all"
    near_ranks: Size = 1

    def kernel(self, phase: Phase) -> ExchangeKernel | Literal["gather"]:
        """What moves tokens to their experts in this phase."""
        return KERNELS[self.exchange][phase]


def hidden_sum(name: str, model: ModelSpec, load: Load, num_ranks: Size, forms: Forms) -> Iterator[Operation]:
    """The sum of every token's hidden values over a TP group: one all-reduce, or in two levels.

    In two levels, each near rank sums its part of the buffer (reduce-scatter), then over its equals on
    other nodes (all-reduce), and the near ranks gather the parts; all three bear the name of the sum.
    Source: hierarchical collectives as in PCCL (arXiv 2504.18658), and in NCCL's own trees over nodes.
    """
    payload_bytes = load.tokens * model.hidden * model.activation_bytes
    near = np.minimum(forms.near_ranks, num_ranks)
    if np.all(np.asarray(near) == 1):
        yield AllReduce(name=name, axis="tp", num_ranks=num_ranks, payload_bytes=payload_bytes)
        return
    yield Gather(name=name, axis="tp_near", num_ranks=near, payload_bytes=payload_bytes, reduces=True)
    yield AllReduce(name=name, axis="tp_far", num_ranks=num_ranks / near, payload_bytes=payload_bytes / near)
    yield Gather(name=name, axis="tp_near", num_ranks=near, payload_bytes=payload_bytes)
