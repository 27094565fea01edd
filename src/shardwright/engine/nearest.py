"""The legal layouts nearest to the degrees that somebody stated."""

from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from shardwright.engine.engine import Rule
from shardwright.engine.rules import num_gpus
from shardwright.layout.layout import ExpertHome, Layout
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec

AXES = ("tp", "dp", "pp", "ep", "etp", "edp")
LARGEST_DEGREE = 1024
"""Powers of two are tried up to twice this; what is stated above it is tried as it stands."""

Degree = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Layouts of one home: one entry of each array a layout."""

    tp: Degree
    dp: Degree
    pp: Degree
    ep: Degree
    etp: Degree
    edp: Degree
    copies: int
    redundant: int = 0
    home: ExpertHome = "folded"


def nearest(
    rules: tuple[Rule, ...], stated: Stated, model: ModelSpec, home: ExpertHome = "folded"
) -> tuple[Layout, ...]:
    """The layouts of `home` that obey `rules` and are nearest to `stated`; the first has the largest TP.

    Distance, compared in this order: doublings or halvings of the degrees that are stated; of the GPU
    count PP x TP x DP; of the degrees that are not stated, away from 1. Equally near ones are all
    returned. Copies stay as stated; DP of a dense model counts as copies. Empty where so many copies leave
    no layout.
    """
    wanted = {axis: getattr(stated, axis) for axis in AXES}
    copies = stated.copies or 1
    if model.experts is None:
        copies *= wanted["dp"] or 1
        wanted |= dict.fromkeys(("dp", "ep", "etp", "edp"))
    candidates = _candidates(wanted, copies, home, is_moe=model.experts is not None)
    legal = np.ones(candidates.tp.shape, dtype=bool)
    for rule in rules:
        legal &= np.equal(rule.breach(candidates, model, None), 0)
    if not legal.any():
        return ()
    degrees = np.stack([getattr(candidates, axis)[legal] for axis in AXES])
    distance = _distance(degrees, np.asarray(num_gpus(candidates))[legal], wanted, copies)
    best = distance[:, np.lexsort(distance[::-1])[0]]
    tied = degrees[:, (distance == best[:, None]).all(axis=0)]
    order = np.lexsort(-tied[::-1])
    return tuple(
        Layout(**dict(zip(AXES, map(int, row), strict=True)), copies=copies, home=home)
        for row in tied[:, order].T
    )


def _distance(
    degrees: Degree, gpus: Degree, wanted: dict[str, int | None], copies: int
) -> NDArray[np.float64]:
    """Rows: the three distances in their order, rounded so that equal ones compare equal."""
    target = np.array([wanted[axis] or 1 for axis in AXES])
    is_stated = np.array([wanted[axis] is not None for axis in AXES])
    doublings = np.abs(np.log2(degrees / target[:, None]))
    nominal = copies * int(target[:3].prod())
    rows = [
        doublings[is_stated].sum(axis=0),
        np.abs(np.log2(gpus / nominal)),
        doublings[~is_stated].sum(axis=0),
    ]
    return np.asarray(np.stack(rows).round(9))


def _candidates(wanted: dict[str, int | None], copies: int, home: ExpertHome, *, is_moe: bool) -> Candidates:
    """Every layout over a few values a degree. EDP of folded ones follows from the others, else it is 1."""
    size = {axis: wanted[axis] or 1 for axis in AXES}
    largest = max(size["tp"] * size["dp"], size["pp"], size["ep"] * size["etp"] * size["edp"])
    powers = {2**k for k in range(ceil(log2(min(largest, LARGEST_DEGREE))) + 2)}
    varied = ("tp", "dp", "pp", "ep", "etp") if is_moe else ("tp", "pp")
    values = [sorted(_values(wanted[axis], powers)) if axis in varied else [1] for axis in AXES[:-1]]
    tp, dp, pp, ep, etp = (axis.ravel() for axis in np.meshgrid(*values, indexing="ij"))
    if not is_moe:
        return Candidates(tp=tp, dp=dp, pp=pp, ep=ep, etp=etp, edp=np.ones_like(tp), copies=copies)
    if home != "folded":
        edp = np.ones_like(tp)
        return Candidates(tp=tp, dp=dp, pp=pp, ep=ep, etp=etp, edp=edp, copies=copies, home=home)
    whole = tp * dp % (ep * etp) == 0
    tp, dp, pp, ep, etp = (axis[whole] for axis in (tp, dp, pp, ep, etp))
    return Candidates(tp=tp, dp=dp, pp=pp, ep=ep, etp=etp, edp=tp * dp // (ep * etp), copies=copies)


def _values(stated: int | None, powers: set[int]) -> set[int]:
    """Powers of two, the stated degree, and what it halves and divides by three to."""
    if stated is None:
        return powers
    found = {stated}
    for factor in (2, 3):
        found |= {degree // factor**k for degree in found for k in range(1, 4) if degree % factor**k == 0}
    return powers | found
