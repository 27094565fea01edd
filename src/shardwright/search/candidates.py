"""Every split of up to N GPUs, as arrays: one entry a layout, one batch a home and depth of pipeline."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.topology import copies_that_fit
from shardwright.errors import InputError
from shardwright.layout.layout import ExpertHome, Layout

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Layouts of one home and one pp as parallel arrays; stands wherever degrees are asked for."""

    tp: Ints
    dp: Ints
    ep: Ints
    etp: Ints
    edp: Ints
    copies: Ints
    pp: int
    home: ExpertHome
    redundant: int = 0

    def __len__(self) -> int:
        return len(self.tp)

    def where(self, mask: NDArray[Any]) -> "Candidates":
        """The entries that a mask or an index selects."""
        arrays = {f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name in ARRAYS}
        return Candidates(**arrays, pp=self.pp, home=self.home, redundant=self.redundant)

    def layout(self, index: int) -> Layout:
        """Entry `index` as a Layout."""
        degrees = {name: int(getattr(self, name)[index]) for name in ARRAYS}
        return Layout(**degrees, pp=self.pp, home=self.home, redundant=self.redundant)

    @property
    def num_gpus(self) -> Ints:
        """GPUs of each layout, all copies."""
        experts = self.etp * self.ep * self.edp
        expert_sets = {"folded": 0, "per_stage": self.pp, "shared": 1}[self.home]
        return self.copies * (self.pp * self.tp * self.dp + expert_sets * experts)


MAX_ROWS = 4_000_000
"""Layouts of one copy that a search enumerates; more would take gigabytes and minutes."""

NO_ROWS: Ints = np.empty((0, 5), dtype=np.int64)

ARRAYS = ("tp", "dp", "ep", "etp", "edp", "copies")


def single_copies(
    *,
    max_gpus: int,
    max_pp: int,
    tensor_degrees: Ints,
    max_dp: int,
    has_experts: bool,
    homes: tuple[ExpertHome, ...],
) -> Iterator[Candidates]:
    """Every layout of one copy on up to `max_gpus` GPUs, legal or not.

    tensor_degrees: the tp worth trying (divisors of the heads). A dense model has folded layouts without
    expert degrees and without dp only. Raises InputError when there are more than MAX_ROWS.
    """
    if has_experts:
        _check_rows(_count(max_gpus, max_pp, tensor_degrees, max_dp, homes), max_gpus)
    for home in homes if has_experts else ("folded",):
        for pp in range(1, min(max_pp, max_gpus) + 1):
            per_stage = max_gpus // pp
            tp, dp = _pairs(tensor_degrees, per_stage, max_dp if has_experts else 1)
            if not has_experts:
                grid = np.stack([tp, dp, *np.ones((3, len(tp)), dtype=np.int64)], axis=1)
            elif home == "folded":
                grid = _with_experts(tp, dp, tp * dp)
            else:
                room = max_gpus - pp * tp * dp
                room = room // pp if home == "per_stage" else room
                sizes = range(1, room.max(initial=0) + 1)
                parts = [_with_experts(tp[room >= size], dp[room >= size], size) for size in sizes]
                grid = np.concatenate([NO_ROWS, *parts])
            if len(grid):
                tp, dp, ep, etp, edp = grid.T
                ones = np.ones_like(tp)
                yield Candidates(tp=tp, dp=dp, ep=ep, etp=etp, edp=edp, copies=ones, pp=pp, home=home)


def _count(
    max_gpus: int, max_pp: int, tensor_degrees: Ints, max_dp: int, homes: tuple[ExpertHome, ...]
) -> int:
    """How many rows single_copies would have, without making them."""
    ways = np.ones(max_gpus + 1, dtype=np.int64)
    for _ in range(2):  # ordered factorisations into one, two, three factors
        finer = np.zeros_like(ways)
        for divisor in range(1, max_gpus + 1):
            finer[divisor::divisor] += ways[1 : max_gpus // divisor + 1]
        ways = finer
    up_to = np.cumsum(ways) - ways[0]
    total = 0
    for pp in range(1, min(max_pp, max_gpus) + 1):
        tp, dp = _pairs(tensor_degrees, max_gpus // pp, max_dp)
        room = max_gpus - pp * tp * dp
        counts = {"folded": ways[tp * dp], "per_stage": up_to[room // pp], "shared": up_to[room]}
        total += sum(int(counts[home].sum()) for home in homes)
    return total


def _check_rows(num_rows: int, max_gpus: int) -> None:
    if num_rows > MAX_ROWS:
        allowed = f"a search of at most {MAX_ROWS:,} layouts, not {num_rows:,}: fewer GPUs, or one engine"
        raise InputError("cluster", f"{max_gpus} GPUs", allowed)


def with_copies(single: Candidates, *, max_gpus: int, max_dp: int, cluster: Cluster) -> Candidates:
    """Each layout once for every number of copies that the GPUs and the sequences (dp x copies) allow.

    No copy straddles nodes that it need not.

    Raises InputError when there are more than MAX_ROWS.
    """
    room = np.minimum(most_copies(single, max_gpus=max_gpus, cluster=cluster), max_dp // single.dp)
    _check_rows(int(room.sum()), max_gpus)
    index = np.repeat(np.arange(len(room)), room)
    copies = np.arange(len(index)) - np.repeat(np.cumsum(room) - room, room) + 1
    return replace(single.where(index), copies=copies)


def most_copies(single: Candidates, *, max_gpus: int, cluster: Cluster) -> Ints:
    """How many copies of each layout up to `max_gpus` GPUs of the cluster hold."""
    placed = copies_that_fit(single.num_gpus, cluster.nodes, cluster.gpus_per_node, cluster.nodes_per_domain)
    most: Ints = np.minimum(max_gpus // single.num_gpus, placed)
    return most


def _pairs(tensor_degrees: Ints, limit: int, max_dp: int) -> tuple[Ints, Ints]:
    """All (tp, dp) with tp x dp up to `limit` and dp up to `max_dp`."""
    tp, dp = np.meshgrid(tensor_degrees, np.arange(1, min(limit, max_dp) + 1), indexing="ij")
    fits = tp * dp <= limit
    return tp[fits], dp[fits]


def _with_experts(tp: Ints, dp: Ints, num_ranks: Ints | int) -> Ints:
    """Each (tp, dp) with every (ep, etp, edp) of product `num_ranks`: rows tp, dp, ep, etp, edp."""
    ranks = np.broadcast_to(np.asarray(num_ranks), tp.shape)
    rows = [NO_ROWS]
    for count in np.unique(ranks):
        split = _triples(int(count))
        pairs = np.stack([tp[ranks == count], dp[ranks == count]], axis=1)
        rows.append(np.hstack([np.repeat(pairs, len(split), axis=0), np.tile(split, (len(pairs), 1))]))
    return np.concatenate(rows)


def _triples(product: int) -> Ints:
    """All ordered triples with that product."""
    divisors = [d for d in range(1, product + 1) if product % d == 0]
    return np.array(
        [(a, b, product // a // b) for a in divisors for b in divisors if product // a % b == 0],
        dtype=np.int64,
    ).reshape(-1, 3)
