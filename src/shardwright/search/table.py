"""All legal layouts priced: one row a layout, in arrays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shardwright.engine.engine import Engine
from shardwright.layout.layout import Layout
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Rejected
from shardwright.search.candidates import MAX_ROWS, Candidates, check_rows, single_copies, with_copies
from shardwright.search.cases import COLUMNS, HOPED, PRICED, SERVED, UNSETTLED, Floats, columns_of
from shardwright.search.illegal import Illegal
from shardwright.search.timing import Timing


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns over all priced layouts; `batches` in the order of the rows. Units as in Price and Served.

    columns: in the schedule that every engine has. hopes: the same, at the floor of what overlap can do.
    unsettled: rows whose hopes lie above their columns, or whose columns are a floor themselves.
    """

    batches: tuple[Candidates, ...]
    num_gpus: NDArray[np.int64]
    columns: dict[str, Floats]
    hopes: dict[str, Floats]
    unsettled: NDArray[np.bool_]
    illegal: tuple[Rejected, ...]
    played: Mapping[int, Timing] = field(default_factory=dict)
    """Rows whose schedules were played, and what came of it."""

    def __len__(self) -> int:
        return len(self.num_gpus)

    def degrees(self, axis: str) -> NDArray[np.int64]:
        """One degree of every row."""
        return np.concatenate([getattr(batch, axis) for batch in self.batches])

    def homes(self) -> NDArray[np.str_]:
        """Where the experts of every row live."""
        return np.concatenate([np.full(len(b), b.home) for b in self.batches])

    def layout(self, row: int) -> Layout:
        """The layout of a row."""
        for batch in self.batches:
            if row < len(batch):
                return batch.layout(row)
            row -= len(batch)
        raise IndexError(row)

    def select(self, rows: Sequence[int]) -> Iterator[tuple[list[int], Candidates]]:
        """The layouts of some rows, batch by batch, each with their places among `rows`."""
        wanted, start = np.asarray(rows, dtype=np.int64), 0
        for batch in self.batches:
            places = np.flatnonzero((wanted >= start) & (wanted < start + len(batch)))
            if len(places):
                yield places.tolist(), batch.where(wanted[places] - start)
            start += len(batch)


def legal_copies(
    deployment: Deployment, engine: Engine, *, max_gpus: int, illegal: Illegal
) -> Iterator[Candidates]:
    """Every layout of one copy on up to `max_gpus` GPUs that the engine can run; `illegal` notes the rest."""
    model, cluster = deployment.model, deployment.cluster
    for single in single_copies(
        max_gpus=max_gpus,
        max_pp=model.num_layers,
        tensor_degrees=_divisors(model.attention.num_heads),
        max_dp=deployment.workload.batch,
        has_experts=model.experts is not None,
        homes=engine.homes,
    ):
        found = {
            rule: np.broadcast_to(np.asarray(rule.breach(single, model, cluster), dtype=float), len(single))
            for rule in engine.rules
        }
        illegal.note(single, found)
        keeps = np.logical_and.reduce([excess <= 0 for excess in found.values()])
        keeps &= ~_is_copies_in_disguise(single)
        if keeps.any():
            yield single.where(keeps)


def price_all(deployment: Deployment, engine: Engine, *, max_gpus: int) -> Table:
    """Every layout of up to `max_gpus` GPUs that the engine can run, priced under the deployment's load.

    Raises InputError when there are more than MAX_ROWS, or more to enumerate than MAX_SINGLE.
    """
    illegal = Illegal()
    batches = [
        with_copies(single, max_gpus=max_gpus, max_dp=deployment.workload.batch, cluster=deployment.cluster)
        for single in legal_copies(deployment, engine, max_gpus=max_gpus, illegal=illegal)
    ]
    check_rows(sum(map(len, batches)), MAX_ROWS, max_gpus)
    parts = [columns_of(deployment, engine, batch) for batch in batches]
    columns = {name: np.concatenate([part[name] for part in parts] or [np.empty(0)]) for name in COLUMNS}
    return Table(
        batches=tuple(batches),
        num_gpus=np.concatenate([batch.num_gpus for batch in batches] or [np.empty(0, dtype=np.int64)]),
        columns={name: columns[name] for name in (*PRICED, *SERVED)},
        hopes={name: columns[HOPED + name] for name in SERVED},
        unsettled=columns[UNSETTLED] > 0,
        illegal=illegal.rows(),
    )


def _divisors(number: int) -> NDArray[np.int64]:
    return np.array([d for d in range(1, number + 1) if number % d == 0], dtype=np.int64)


def _is_copies_in_disguise(single: Candidates) -> NDArray[np.bool_]:
    """Folded expert sets that never share a rank group are copies: tp.dp2/ep.edp2 is tp/ep.x2."""
    if single.home != "folded":
        return np.zeros(len(single), dtype=bool)
    whole_groups: NDArray[np.bool_] = (single.etp * single.ep) % single.tp == 0
    return whole_groups & (single.edp > 1)
