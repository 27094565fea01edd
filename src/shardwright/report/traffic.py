"""What a rank sends in one decode micro-batch, by axis: the rank program recorded, not a second formula."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from shardwright.cost.stages import stages
from shardwright.layout.grid import Role
from shardwright.layout.layout import Layout
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Pool
from shardwright.search.timing import forms_of
from shardwright.steps.load import decode_load
from shardwright.steps.operation import Communication, Transfer
from shardwright.steps.program import rank_program


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """One kind of communication of an attention rank, through all stages of the pipeline.

    times: how often. payload_bytes: the buffer of one time, as the operation defines it.
    """

    name: str
    axis: str
    num_ranks: int
    times: int
    payload_bytes: float

    @property
    def total_bytes(self) -> float:
        return self.times * self.payload_bytes


def traffic(deployment: Deployment, layout: Layout, pool: Pool) -> tuple[Traffic, ...]:
    """Communication among more than one rank, in the order of the program."""
    load = decode_load(deployment.model, layout, deployment.workload, pool.schedule.micro_batches)
    forms = forms_of(deployment, pool.schedule)
    role: Role = "attention+experts" if layout.home == "folded" else "attention"
    times: Counter[tuple[str, str, int, float]] = Counter()
    for stage in stages(deployment.model, pool.stage_layers):
        for operation in rank_program(deployment.model, layout, stage, load, role, forms):
            if isinstance(operation, Transfer) and not operation.sends:
                continue  # the other end of a handover that the stage before counts
            if isinstance(operation, Communication):
                ranks, payload = (
                    int(np.asarray(operation.num_ranks)),
                    float(np.asarray(operation.payload_bytes)),
                )
                times[operation.name, operation.axis, ranks, payload] += int(np.asarray(operation.times))
    return tuple(
        Traffic(name=name, axis=axis, num_ranks=ranks, times=count, payload_bytes=payload)
        for (name, axis, ranks, payload), count in times.items()
        if ranks > 1
    )
