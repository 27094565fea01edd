"""All legal layouts priced: one row a layout, in arrays."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shardwright.cost.price import Price, Served, decode_cost, price, served, wires_of
from shardwright.engine.engine import Engine, Rule
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Rejected
from shardwright.record import Size
from shardwright.search.candidates import ARRAYS, Candidates, single_copies, with_copies
from shardwright.search.timing import NOTICEABLE, Timing
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


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns over all priced layouts; `batches` in the order of the rows. Units as in Price and Served.

    columns: in the schedule that every engine has. hopes: the same, at the floor of what overlap can do.
    unsettled: rows whose hopes lie above their columns, or whose columns are a floor themselves.
    """

    batches: tuple[Candidates, ...]
    num_gpus: NDArray[np.int64]
    pp: NDArray[np.int64]
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
        return np.concatenate([np.broadcast_to(getattr(b, axis), len(b)) for b in self.batches])

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


def legal_copies(
    deployment: Deployment, engine: Engine, *, max_gpus: int, illegal: "Illegal"
) -> Iterator[Candidates]:
    """Every layout of one copy on up to `max_gpus` GPUs that the engine can run; `illegal` notes the rest."""
    model = deployment.model
    for single in single_copies(
        max_gpus=max_gpus,
        max_pp=model.num_layers,
        tensor_degrees=_divisors(model.attention.num_heads),
        max_dp=deployment.workload.batch,
        has_experts=model.experts is not None,
        homes=engine.homes,
    ):
        keeps = np.ones(len(single), dtype=bool)
        for rule in engine.rules:
            excess = np.asarray(rule.breach(single, model, deployment.cluster), dtype=float)
            excess = np.broadcast_to(excess, keeps.shape)
            illegal.note(rule, single, excess)
            keeps &= excess <= 0
        keeps &= ~_is_copies_in_disguise(single)
        if keeps.any():
            yield single.where(keeps)


def price_all(deployment: Deployment, engine: Engine, *, max_gpus: int) -> Table:
    """Every layout of up to `max_gpus` GPUs that the engine can run, priced under the deployment's load."""
    model, cluster, workload = deployment.model, deployment.cluster, deployment.workload
    legal, prices, hopes, unsettled, illegal = [], [], [], [], Illegal()
    for single in legal_copies(deployment, engine, max_gpus=max_gpus, illegal=illegal):
        batch = with_copies(single, max_gpus=max_gpus, max_dp=workload.batch, cluster=cluster)
        legal.append(batch)
        layers = engine.stages(model.num_layers, single.pp)
        cost = price(model, engine, cluster, workload, batch, layers)
        prices.append(cost)
        hope_s = np.broadcast_to(_hoped_step_s(deployment, engine, batch, layers, cost), len(batch))
        hopes.append(served(cost, hope_s))
        shared = batch.home == "shared" and batch.pp > 1
        unsettled.append((hope_s < cost.decode.cycle_s * (1 - NOTICEABLE)) | shared)
    columns = {name: _column(legal, map(get, prices)) for name, get in PRICED.items()}
    plain = [cost.served for cost in prices]
    return Table(
        batches=tuple(legal),
        num_gpus=np.concatenate([batch.num_gpus for batch in legal] or [np.empty(0, dtype=np.int64)]),
        pp=np.concatenate([np.full(len(b), b.pp) for b in legal] or [np.empty(0, dtype=np.int64)]),
        columns=columns | {name: _column(legal, map(get, plain)) for name, get in SERVED.items()},
        hopes={name: _column(legal, map(get, hopes)) for name, get in SERVED.items()},
        unsettled=np.concatenate(unsettled or [np.empty(0, dtype=bool)]),
        illegal=illegal.rows(),
    )


def _hoped_step_s(
    deployment: Deployment, engine: Engine, batch: Candidates, layers: tuple[int, ...], cost: Price
) -> Size:
    """The least that a step can take with any overlap of the engine."""
    least, overlap = cost.decode.cycle_s, engine.overlap
    if overlap is None or not np.any(works := overlap.works(batch, deployment.cluster)):
        return least
    wires, forms = wires_of(engine, deployment.cluster, batch), Forms(exchange=overlap.exchange)
    for depth in overlap.micro_batches:
        count = depth * batch.pp
        in_batches = decode_cost(deployment.model, batch, layers, deployment.workload, count, wires, forms)
        possible = np.logical_and(works, count <= cost.sequences)
        least = np.where(possible, np.minimum(least, in_batches.floor_s), least)
    return least


def _column(batches: list[Candidates], values: Iterable[Size]) -> Floats:
    parts = [
        np.broadcast_to(np.asarray(value, dtype=float), len(batch))
        for batch, value in zip(batches, values, strict=True)
    ]
    return np.concatenate(parts or [np.empty(0)])


def _divisors(number: int) -> NDArray[np.int64]:
    return np.array([d for d in range(1, number + 1) if number % d == 0], dtype=np.int64)


def _is_copies_in_disguise(single: Candidates) -> NDArray[np.bool_]:
    """Folded expert sets that never share a rank group are copies: tp.dp2/ep.edp2 is tp/ep.x2."""
    if single.home != "folded":
        return np.zeros(len(single), dtype=bool)
    whole_groups: NDArray[np.bool_] = (single.etp * single.ep) % single.tp == 0
    return whole_groups & (single.edp > 1)


class Illegal:
    """For each rule: how many layouts break it, and the one that comes nearest to keeping it."""

    def __init__(self) -> None:
        self._found: dict[str, Rejected] = {}

    def note(self, rule: Rule, single: Candidates, excess: Floats) -> None:
        broken = np.flatnonzero(excess > 0)
        if not len(broken):
            return
        old = self._found.get(rule.id)
        count = len(broken) + (old.count if old else 0)
        nearest = int(broken[np.lexsort((single.num_gpus[broken], excess[broken]))[0]])
        if old is not None and old.excess <= excess[nearest]:
            self._found[rule.id] = old.model_copy(update={"count": count})
            return
        self._found[rule.id] = Rejected(
            rule=rule.id,
            sentence=rule.sentence,
            count=count,
            example=_name(single, nearest),
            excess=float(excess[nearest]),
            unit=rule.unit,
            cure=rule.cure,
        )

    def rows(self) -> tuple[Rejected, ...]:
        return tuple(self._found.values())


def _name(single: Candidates, index: int) -> str:
    """Canonical where the degrees make a layout, else the degrees themselves."""
    try:
        return format_layout(single.layout(index))
    except ValueError:
        degrees = {name: int(getattr(single, name)[index]) for name in ARRAYS}
        return ".".join(f"{name}{value}" for name, value in degrees.items() if value > 1)
