"""Every layout of so many GPUs that keeps an engine's rules, for a model that nearly every degree divides."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import lcm

import numpy as np
from numpy.typing import NDArray

from shardwright.engine.engine import Engine
from shardwright.layout.layout import ExpertHome, Layout
from tests.engine.engine_strategies import REFERENCE

MANY = lcm(*range(1, 43), 49, 64)
"""Every degree to 64 divides it but the primes from 43: what is illegal here, the engine's grid forbids."""

assert REFERENCE.experts is not None
DIVISIBLE = REFERENCE.model_copy(
    update={
        "num_layers": MANY,
        "attention": REFERENCE.attention.model_copy(update={"num_heads": MANY, "num_kv_heads": MANY}),
        "experts": REFERENCE.experts.model_copy(update={"num_experts": MANY, "width": MANY}),
    }
)


@dataclass(frozen=True)
class Many:
    """Layouts of one home: one entry of each array a layout."""

    copies: NDArray[np.int64]
    pp: NDArray[np.int64]
    tp: NDArray[np.int64]
    dp: NDArray[np.int64]
    etp: NDArray[np.int64]
    ep: NDArray[np.int64]
    edp: NDArray[np.int64]
    home: ExpertHome
    redundant: int = 0


AXES = ("copies", "pp", "tp", "dp", "etp", "ep", "edp")


def legal_layouts(engine: Engine, home: ExpertHome, most: int) -> list[Layout]:
    """Every layout of at most so many GPUs that keeps the engine's rules, fewest GPUs first."""
    many = _every(home, most)
    kept = np.ones(many.tp.shape, dtype=bool)
    for rule in engine.rules:
        kept &= np.equal(rule.breach(many, DIVISIBLE, None), 0)
    rows = np.stack([getattr(many, axis)[kept] for axis in AXES], axis=1).tolist()
    found = [Layout(**dict(zip(AXES, row, strict=True)), home=home) for row in rows]
    return sorted(found, key=lambda layout: layout.num_gpus)


@cache
def _every(home: ExpertHome, most: int) -> Many:
    return Many(*np.array(list(_degrees(home, most))).T, home=home)


def _degrees(home: ExpertHome, most: int) -> Iterator[tuple[int, ...]]:
    """AXES of every layout of at most so many GPUs."""
    for copies, pp, tp, dp in _products(most, 4):
        if home == "folded":
            pairs = ((etp, ep) for etp, ep in _products(tp * dp, 2) if tp * dp % (etp * ep) == 0)
            yield from ((copies, pp, tp, dp, etp, ep, tp * dp // (etp * ep)) for etp, ep in pairs)
        else:
            blocks = pp if home == "per_stage" else 1
            room = (most // copies - pp * tp * dp) // blocks
            yield from ((copies, pp, tp, dp, *grid) for grid in _products(room, 3))


def _products(limit: int, num_factors: int) -> Iterator[tuple[int, ...]]:
    """All tuples of so many factors whose product is at most `limit`."""
    if num_factors == 0:
        yield ()
        return
    for factor in range(1, limit + 1):
        for rest in _products(limit // factor, num_factors - 1):
            yield (factor, *rest)
