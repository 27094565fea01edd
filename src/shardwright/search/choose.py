"""Which row of the table: limits first, then targets, then the objective, then what most engines run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shardwright.cluster.cluster import Cluster
from shardwright.engine.catalog import ENGINES
from shardwright.model.spec import ModelSpec
from shardwright.plan.deployment import Objective
from shardwright.search.cases import Floats
from shardwright.search.table import Table
from shardwright.units import GB
from shardwright.workload.workload import Targets

NEAR_EQUAL = 0.02
"""Layouts within this share of the best count as equal: well below what a prediction can tell apart."""

MOST_NEAR_EQUAL = 64
"""Of the near-equal ones, so many are asked of every engine."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """fits: within memory, and a request of max_model_len fits. misses: worst prediction / target, 1 meets.

    order: rows that fit, best first. likely: to meet the targets, where rows are ranked by it.
    """

    fits: NDArray[np.bool_]
    misses: Floats
    order: NDArray[np.int64]
    likely: Floats | None = None

    @property
    def num_meeting(self) -> int:
        """Rows that fit and meet every target."""
        return int(np.count_nonzero(self.misses[self.order] <= 1))

    def only(self, mask: NDArray[np.bool_]) -> "Ranking":
        """The ranking of the rows that `mask` selects."""
        return replace(self, order=self.order[mask[self.order]])


def miss_ratios(targets: Targets, columns: dict[str, Floats]) -> dict[str, Floats]:
    """For each stated target: by which factor the prediction misses it; up to 1 is met."""
    tiny = 1e-12
    ratios: dict[str, tuple[float | None, Callable[[float], Floats]]] = {
        "tpot_ms": (targets.tpot_ms, lambda t: columns["tpot_s"] * 1e3 / t),
        "ttft_ms": (targets.ttft_ms, lambda t: columns["ttft_s"] * 1e3 / t),
        "throughput_tokens_per_s": (
            targets.throughput_tokens_per_s,
            lambda t: t / np.maximum(columns["throughput_tokens_per_s"], tiny),
        ),
        "communication_fraction": (
            targets.communication_fraction,
            lambda t: columns["communication_fraction"] / max(t, tiny),
        ),
        "memory_gb": (targets.memory_gb, lambda t: columns["used_bytes"] / GB / t),
    }
    return {name: ratio(target) for name, (target, ratio) in ratios.items() if target is not None}


def rank(table: Table, targets: Targets, objective: Objective, likely: Floats | None = None) -> Ranking:
    """Order the table: rows that meet all targets by the objective, then the others by their worst miss.

    likely: of each row, for the objective of that name, by which those that miss a target are ranked too.
    """
    columns = table.columns
    fits = (columns["over_budget_bytes"] <= 0) & (columns["kv_sequences"] >= 1)
    misses = np.maximum.reduce([np.zeros(len(table)), *miss_ratios(targets, columns).values()])
    throughput = -columns["throughput_tokens_per_s"]
    worst = np.maximum(misses, 1.0)
    if objective == "probability":
        assert likely is not None
        ties = (table.num_gpus, columns["tpot_s"], throughput, worst)
        order = np.lexsort((*ties, -_told_apart(likely), misses > 1))
        return Ranking(fits=fits, misses=misses, order=order[fits[order]], likely=likely)
    keys = {
        # GPUs given are paid for, used or not: the most tokens on them is the most tokens per GPU.
        "throughput_per_gpu": (table.num_gpus, columns["tpot_s"], throughput),
        "latency": (table.num_gpus, throughput, columns["tpot_s"]),
        "fewest_gpus": (columns["tpot_s"], throughput, table.num_gpus),
    }[objective]
    order = np.lexsort((*keys, worst))
    return Ranking(fits=fits, misses=misses, order=order[fits[order]])


def near_equal(table: Table, ranking: Ranking, objective: Objective) -> list[int]:
    """The first row and those that cannot be told from it by the objective, best first."""
    if not len(ranking.order):
        return []
    best = ranking.order[0]
    tpot = table.columns["tpot_s"]
    by_throughput = objective in ("throughput_per_gpu", "probability")
    score = 1 / table.columns["throughput_tokens_per_s"] if by_throughput else tpot
    alike = np.maximum(ranking.misses, 1.0) <= max(ranking.misses[best], 1.0) * (1 + 1e-9)
    if ranking.likely is not None:
        alike &= _told_apart(ranking.likely) == _told_apart(ranking.likely)[best]
    alike &= score <= score[best] * (1 + NEAR_EQUAL)
    if objective == "fewest_gpus":
        alike &= table.num_gpus == table.num_gpus[best]
    found: list[int] = ranking.order[alike[ranking.order]][:MOST_NEAR_EQUAL].tolist()
    return found


def _told_apart(likely: Floats) -> Floats:
    """Probabilities in whole per cent: what lies closer is one."""
    return np.round(likely, 2)


def engines_for(
    table: Table, rows: Sequence[int], model: ModelSpec, cluster: Cluster
) -> list[tuple[str, ...]]:
    """For each row the engines whose rules its layout keeps and whose expert homes include it."""
    found: list[tuple[str, ...]] = [()] * len(rows)
    for places, batch in table.select(rows):
        for engine in ENGINES.values():
            if batch.home not in engine.homes:
                continue
            breached = [np.asarray(rule.breach(batch, model, cluster)) > 0 for rule in engine.rules]
            legal = ~np.logical_or.reduce(np.broadcast_arrays(*breached, np.zeros(len(batch), dtype=bool)))
            for place in np.asarray(places)[legal].tolist():
                found[place] += (engine.id,)
    return found


def pareto(table: Table, ranking: Ranking) -> list[int]:
    """Rows that fit and that no other row beats in both TPOT and throughput per GPU, fastest first."""
    rows = ranking.order
    per_gpu = table.columns["throughput_tokens_per_s"][rows] / table.num_gpus[rows]
    tpot = table.columns["tpot_s"][rows]
    front, best = [], -np.inf
    fastest = np.argsort(tpot, kind="stable")
    records = np.maximum.accumulate(per_gpu[fastest])
    few = fastest[np.flatnonzero(np.diff(records, prepend=-np.inf) > 0)]
    for index in few[np.lexsort((-per_gpu[few], tpot[few]))]:
        if per_gpu[index] > best * (1 + 1e-9):
            front.append(int(rows[index]))
            best = per_gpu[index]
    return front
