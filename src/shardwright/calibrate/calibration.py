"""All tables of a GPU -> its profile, and how well each law does on shapes that it never saw."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shardwright import __version__
from shardwright.calibrate.attention import (
    decode_kind,
    decode_rows,
    like_attention,
    prefill_kind,
    prefill_rows,
)
from shardwright.calibrate.collectives import collective_kind, collective_rows
from shardwright.calibrate.exchange import exchange_kind, exchange_rows
from shardwright.calibrate.experts import experts_kind, experts_rows
from shardwright.calibrate.fit import Kind
from shardwright.calibrate.gemm import batched_kind, batched_rows, gemm_kind, gemm_rows
from shardwright.calibrate.rows import FEW_SHAPES, Rows
from shardwright.calibrate.score import Score, held_against, scored
from shardwright.cluster.device import Device
from shardwright.cost.law import Law
from shardwright.cost.profile import Profile
from shardwright.record import Record


@dataclass(frozen=True, kw_only=True)
class Family:
    """One field of a profile: where its rows come from, and how they are fitted.

    like: whether a law of the rows' engine and format is for such rows; None: where it states the same.
    """

    field: str
    rows: Callable[[Path, Device], Iterator[Rows[Any]]]
    kind: Callable[[Rows[Any]], Kind[Any, Any]]
    like: Callable[[Any, Rows[Any]], bool] | None = None


FAMILIES = (
    Family(field="gemm", rows=gemm_rows, kind=gemm_kind),
    Family(field="batched_gemm", rows=batched_rows, kind=batched_kind),
    Family(field="decode", rows=decode_rows, kind=decode_kind, like=like_attention),
    Family(field="prefill", rows=prefill_rows, kind=prefill_kind, like=like_attention),
    Family(field="experts", rows=experts_rows, kind=experts_kind),
    Family(field="collectives", rows=collective_rows, kind=collective_kind),
    Family(field="exchanges", rows=exchange_rows, kind=exchange_kind),
)


class Outcome(Record):
    """One law as it was fitted. scale: what tells its bands apart. score: None where no row was held out."""

    device: str
    operation: str
    scale: str
    kernels: str
    version: str
    kernel: str
    format: str
    rows: int
    excluded: dict[str, int]
    score: Score | None


class Calibration(Record):
    """What came of each table, of one device or of several."""

    schema_version: Literal[1] = 1
    outcomes: tuple[Outcome, ...]


def fit_profile(
    gpu: Path, device: Device, *, source: str, date: str, say: Callable[[str], None] = lambda text: None
) -> tuple[Profile, tuple[Outcome, ...]]:
    """Every law that the tables in the folder `gpu` have rows for. say: told what is fitted next."""
    found = (
        (family.field, family.kind(rows), rows) for family in FAMILIES for rows in family.rows(gpu, device)
    )
    laws, outcomes = fit_laws(found, device, say, least_shapes=FEW_SHAPES)
    profile = Profile(
        device=device.name,
        source=source,
        licence="Apache-2.0",
        date=date,
        tool=f"shardwright {__version__}",
        **laws,
    )
    return profile, outcomes


def fit_laws(
    found: Iterable[tuple[str, Kind[Any, Any], Rows[Any]]],
    device: Device,
    say: Callable[[str], None],
    *,
    least_shapes: int = 1,
) -> tuple[dict[str, tuple[Law, ...]], tuple[Outcome, ...]]:
    """The laws of rows that belong to a field of a profile and are of a kind, by field."""
    laws: dict[str, tuple[Law, ...]] = {}
    outcomes = []
    for field, kind, rows in found:
        say(f"{device.name}: {field}, {rows.name}, {len(rows):,} rows")
        score = None
        if len(np.unique(rows.shapes)) >= least_shapes:
            law, score = scored(kind, rows, device)
            laws[field] = (*laws.get(field, ()), law)
        outcomes.append(_outcome(field, kind, rows, device, score))
    return laws, tuple(outcomes)


def carry_profile(gpu: Path, device: Device, profile: Profile) -> tuple[Outcome, ...]:
    """How well the laws of another device, carried by data sheet, predict what the tables of `gpu` measured.

    The law of the same kernel is held against the rows, else the one that the engine takes for the format;
    where the profile has none, score is None.
    """
    outcomes = []
    for family in FAMILIES:
        laws: tuple[Law, ...] = getattr(profile, family.field)
        for rows in family.rows(gpu, device):
            same = [law for law in laws if (law.kernels, law.format) == (rows.kernels, rows.format)]
            alike = [law for law in same if _is_like(family, law, rows)]
            kind, score = family.kind(rows), None
            if alike and len(rows):
                law = next((law for law in alike if law.kernel == rows.kernel), alike[0])
                score = held_against(kind, rows, device, law)
            outcomes.append(_outcome(family.field, kind, rows, device, score))
    return tuple(outcomes)


def _is_like(family: Family, law: Law, rows: Rows[Any]) -> bool:
    if family.like is not None:
        return family.like(law, rows)
    return family.kind(rows).stated.items() <= dict(law).items()


def _outcome(
    field: str, kind: Kind[Any, Any], rows: Rows[Any], device: Device, score: Score | None
) -> Outcome:
    return Outcome(
        device=device.name,
        operation=field,
        scale=kind.scale,
        kernels=rows.kernels,
        version=rows.version,
        kernel=rows.kernel,
        format=rows.format,
        rows=len(rows),
        excluded=rows.excluded,
        score=score,
    )
