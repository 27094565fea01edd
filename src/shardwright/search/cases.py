"""The figures of many layouts: each different case is priced once, and its figures serve all that are alike.

Every figure follows from one copy and from the sequences of an attention rank, whatever the number of copies
that leaves them; a prefill follows from the copy alone.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shardwright.cost.closed_loop import Served
from shardwright.cost.price import (
    Price,
    decode_cost,
    prefills_of,
    price,
    rank_sequences,
    served,
    wires_of,
)
from shardwright.cost.stages import Pipelines, pipelines
from shardwright.engine.engine import Engine
from shardwright.plan.deployment import Deployment
from shardwright.record import Size
from shardwright.search.candidates import Candidates
from shardwright.search.engine import host_for
from shardwright.search.timing import NOTICEABLE
from shardwright.steps.forms import Forms

Floats = NDArray[np.float64]

SERVED: dict[str, Callable[[Served], Size]] = {
    "tpot_s": lambda served: served.tpot_s,
    "ttft_s": lambda served: served.ttft_s,
    "throughput_tokens_per_s": lambda served: served.throughput_tokens_per_s,
}
"""Columns that follow from the time of a step."""

PRICED: dict[str, Callable[[Price], Size]] = {
    "communication_fraction": lambda price: price.decode.communication_fraction,
    "used_bytes": lambda price: price.used_bytes,
    "over_budget_bytes": lambda price: price.over_budget_bytes,
    "kv_sequences": lambda price: price.kv_sequences,
}

HOPED, UNSETTLED = "hoped_", "unsettled"

COLUMNS = (*PRICED, *SERVED, *(HOPED + name for name in SERVED), UNSETTLED)
"""Columns of a table: a hope is at the floor of what overlap can do; unsettled where that tells."""


def columns_of(deployment: Deployment, engine: Engine, batch: Candidates) -> dict[str, Floats]:
    """All COLUMNS of the rows of a batch of with_copies, where those that are alike stand together."""
    model, cluster, workload = deployment.model, deployment.cluster, deployment.workload
    sequences = np.asarray(rank_sequences(workload, batch))
    is_copy = batch.copies == 1
    is_case = is_copy | (np.diff(sequences, prepend=0) != 0)
    case, copy = batch.where(is_case), batch.where(is_copy)
    layers = pipelines(model, engine.stages, case.pp)
    of_case = np.cumsum(is_copy[is_case]) - 1
    wires = wires_of(engine, cluster, copy, deployment.profile)
    of_copy = layers.where(np.flatnonzero(is_copy[is_case]))
    prefills = prefills_of(model, engine, workload, copy, of_copy, wires).at(of_case)
    cost = price(
        model,
        engine,
        cluster,
        workload,
        case,
        layers,
        profile=deployment.profile,
        host=host_for(deployment),
        prefills=prefills,
    )
    hope_s = _hoped_step_s(deployment, engine, case, layers, cost)
    hope = served(cost, hope_s)
    unsettled = hope_s < cost.decode.cycle_s * (1 - NOTICEABLE)
    if batch.home == "shared":
        unsettled = unsettled | (case.pp > 1)
    found = {name: get(cost) for name, get in PRICED.items()}
    found |= {name: get(cost.served) for name, get in SERVED.items()}
    found |= {HOPED + name: get(hope) for name, get in SERVED.items()}
    # A faster step lets more bunches of prompts pile up: a hope is not to be worse for it.
    found[f"{HOPED}ttft_s"] = np.minimum(hope.ttft_s, cost.served.ttft_s)
    found[UNSETTLED] = unsettled
    of_row = np.cumsum(is_case) - 1
    return {
        name: np.broadcast_to(np.asarray(values, dtype=float), len(case))[of_row]
        for name, values in found.items()
    }


def _hoped_step_s(
    deployment: Deployment, engine: Engine, case: Candidates, layers: Pipelines, cost: Price
) -> Floats:
    """The least that a step can take with any overlap of the engine."""
    least = np.array(np.broadcast_to(cost.decode.cycle_s, len(case)))
    overlap = engine.overlap
    if overlap is None:
        return least
    works = np.asarray(overlap.works(case, deployment.cluster))
    for depth in overlap.micro_batches:
        rows = np.flatnonzero(works & (depth * case.pp <= cost.sequences))
        if not len(rows):
            continue
        tried = case.where(rows)
        wires = wires_of(engine, deployment.cluster, tried, deployment.profile)
        in_batches = decode_cost(
            deployment.model,
            tried,
            layers.where(rows),
            deployment.workload,
            depth * tried.pp,
            wires,
            Forms(exchange=overlap.exchange),
        )
        least[rows] = np.minimum(least[rows], in_batches.floor_s)
    return least
