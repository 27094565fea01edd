"""Every split of up to N GPUs, as arrays: one entry a layout, a batch of many of one home."""

from collections.abc import Iterator, Sequence
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
    """Layouts of one home as parallel arrays; stands wherever degrees are asked for."""

    tp: Ints
    dp: Ints
    pp: Ints
    ep: Ints
    etp: Ints
    edp: Ints
    copies: Ints
    home: ExpertHome
    redundant: int = 0

    def __len__(self) -> int:
        return len(self.tp)

    def where(self, mask: NDArray[Any]) -> "Candidates":
        """The entries that a mask or an index selects."""
        arrays = {f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name in ARRAYS}
        return Candidates(**arrays, home=self.home, redundant=self.redundant)

    def layout(self, index: int) -> Layout:
        """Entry `index` as a Layout."""
        degrees = {name: int(getattr(self, name)[index]) for name in ARRAYS}
        return Layout(**degrees, home=self.home, redundant=self.redundant)

    @property
    def num_gpus(self) -> Ints:
        """GPUs of each layout, all copies."""
        experts = self.etp * self.ep * self.edp
        own = {"folded": 0 * experts, "per_stage": self.pp * experts, "shared": experts}[self.home]
        gpus: Ints = self.copies * (self.pp * self.tp * self.dp + own)
        return gpus


MAX_SINGLE = 10_000_000
"""Layouts of one copy that a search enumerates, batch by batch; more would take minutes."""

MAX_ROWS = 4_000_000
"""Layouts that a search prices and keeps; more would take gigabytes."""

BATCH_ROWS = 100_000
"""Rows that make a batch: enough that a call of numpy costs little a row, few enough for some megabytes."""

ARRAYS = ("tp", "dp", "pp", "ep", "etp", "edp", "copies")


def single_copies(
    *,
    max_gpus: int,
    max_pp: int,
    tensor_degrees: Ints,
    max_dp: int,
    has_experts: bool,
    homes: tuple[ExpertHome, ...],
) -> Iterator[Candidates]:
    """Every layout of one copy on up to `max_gpus` GPUs, legal or not, by home and then by pp.

    tensor_degrees: the tp worth trying (divisors of the heads). A dense model has folded layouts without
    expert degrees and without dp only. Raises InputError when there are more than MAX_SINGLE.
    """
    if has_experts:
        check_rows(_count(max_gpus, max_pp, tensor_degrees, max_dp, homes), MAX_SINGLE, max_gpus)
    triples = Triples.up_to(max_gpus if has_experts else 1)
    for home in homes if has_experts else ("folded",):
        waiting: list[Candidates] = []
        for pp in range(1, min(max_pp, max_gpus) + 1):
            tp, dp = _pairs(tensor_degrees, max_gpus // pp, max_dp if has_experts else 1)
            if not has_experts:
                num_ranks = np.ones_like(tp)
            elif home == "folded":
                num_ranks = tp * dp
            else:
                room = max_gpus - pp * tp * dp
                room = room // pp if home == "per_stage" else room
                sizes, pairs = np.nonzero(np.arange(1, room.max(initial=0) + 1)[:, None] <= room)
                tp, dp, num_ranks = tp[pairs], dp[pairs], sizes + 1
            waiting.append(_with_experts(tp, dp, pp, num_ranks, triples, home))
            if sum(map(len, waiting)) >= BATCH_ROWS:
                yield joined(waiting)
                waiting = []
        if any(map(len, waiting)):
            yield joined(waiting)


def joined(batches: Sequence[Candidates]) -> Candidates:
    """Batches of one home as one."""
    arrays = {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in ARRAYS}
    return Candidates(**arrays, home=batches[0].home, redundant=batches[0].redundant)


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


def check_rows(num_rows: int, most: int, max_gpus: int) -> None:
    """Raise InputError where a search of `max_gpus` GPUs has more than `most` layouts."""
    if num_rows > most:
        allowed = f"a search of at most {most:,} layouts, not {num_rows:,}: fewer GPUs, or one engine"
        raise InputError("cluster", f"{max_gpus} GPUs", allowed)


def with_copies(single: Candidates, *, max_gpus: int, max_dp: int, cluster: Cluster) -> Candidates:
    """Each layout once for every number of copies that the GPUs and the sequences (dp x copies) allow.

    No copy straddles nodes that it need not. The numbers of one layout stand next to each other, from 1 up.
    """
    room = np.minimum(most_copies(single, max_gpus=max_gpus, cluster=cluster), max_dp // single.dp)
    index, others = _spread(room)
    return replace(single.where(index), copies=others + 1)


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


@dataclass(frozen=True, kw_only=True)
class Triples:
    """All ordered (ep, etp, edp) of every product: those of m from starts[m] to starts[m + 1]."""

    starts: Ints
    ep: Ints
    etp: Ints
    edp: Ints

    @classmethod
    def up_to(cls, product: int) -> "Triples":
        """Of the products 1 .. product."""
        every = np.arange(1, product + 1)
        # Every (d, multiple of d), then in the order of the multiples: the divisors of each number.
        index, step = _spread(product // every)
        multiples = (index + 1) * (step + 1)
        order = np.argsort(multiples, kind="stable")
        divisors, counts = index[order] + 1, np.bincount(multiples, minlength=product + 1)
        starts = np.cumsum(counts) - counts
        number, ep = multiples[order], divisors
        rest = number // ep
        row, place = _spread(counts[rest])
        etp = divisors[starts[rest][row] + place]
        sizes = np.bincount(number[row], minlength=product + 1)
        return cls(starts=np.concatenate([[0], np.cumsum(sizes)]), ep=ep[row], etp=etp, edp=rest[row] // etp)


def _with_experts(
    tp: Ints, dp: Ints, pp: int, num_ranks: Ints, triples: Triples, home: ExpertHome
) -> Candidates:
    """Each (tp, dp) with every (ep, etp, edp) of product `num_ranks`, small products first."""
    order = np.argsort(num_ranks, kind="stable")
    num_ranks = num_ranks[order]
    starts = triples.starts[num_ranks]
    row, place = _spread(triples.starts[num_ranks + 1] - starts)
    place += starts[row]
    return Candidates(
        tp=tp[order][row],
        dp=dp[order][row],
        pp=np.full_like(row, pp),
        ep=triples.ep[place],
        etp=triples.etp[place],
        edp=triples.edp[place],
        copies=np.ones_like(row),
        home=home,
    )


def _spread(counts: Ints) -> tuple[Ints, Ints]:
    """Each index counts[index] times, and which time it is, from 0."""
    index = np.repeat(np.arange(len(counts)), counts)
    return index, np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
