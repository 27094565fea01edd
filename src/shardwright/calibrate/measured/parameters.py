"""The fitted numbers of a serving profile: where they stand, and how far from what is believed."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from shardwright.calibrate.measured.configuration import Configuration, software_of
from shardwright.cost.software import ANY, Pace, ServingProfile, Software, pace_of
from shardwright.record import Record
from shardwright.serving.times import Floats

HOST_WIDTHS: Mapping[str, float] = {
    "step_us": 0.75,
    "sequence_us": 0.75,
    "layer_us": 0.75,
    "prefill_us": 0.75,
    "least_prefill_layer_us": 0.5,
    "api_us": 0.75,
    "api_token_us": 0.5,
}
PACE_WIDTHS: Mapping[str, float] = {"decode": 0.2, "prefill": 0.3}
"""Standard deviations of the numbers' logarithms around what is believed, before any row is seen."""

TABLES = {"software": HOST_WIDTHS, "paces": PACE_WIDTHS}


@dataclass(frozen=True)
class Place:
    """A row of a table of the profile, and one of its fitted fields."""

    table: str
    row: int
    field: str

    @property
    def width(self) -> float:
        return TABLES[self.table][self.field]


Owners = tuple[int, int]
"""Of one configuration: its row of the software, and of the paces."""


def owners_of(row: Configuration, profile: ServingProfile) -> Owners:
    """The rows that a configuration's figures depend on."""
    case = row.bench.case
    software = software_of(case, profile)
    pace = pace_of(profile, case.cluster.device, software)
    return profile.software.index(software), profile.paces.index(pace)


def places_of(owners: Iterable[Owners], fields: Collection[str] | None = None) -> list[Place]:
    """All numbers that these configurations tell of; of these fields, where some are named."""
    of_each = zip(*owners, strict=True)
    return [
        Place(table, row, field)
        for (table, widths), rows in zip(TABLES.items(), of_each, strict=True)
        for row in sorted(set(rows))
        for field in widths
        if fields is None or field in fields
    ]


def moved(profile: ServingProfile, places: Sequence[Place], by: Floats) -> ServingProfile:
    """The profile with the numbers at these places multiplied by exp(by)."""
    tables: dict[str, list[Record]] = {
        "software": list(profile.software),
        "paces": list(profile.paces),
    }
    for place, step in zip(places, by, strict=True):
        table = tables[place.table]
        value = getattr(table[place.row], place.field) * float(np.exp(step))
        table[place.row] = table[place.row].model_copy(update={place.field: value})
    return profile.model_copy(update={name: tuple(table) for name, table in tables.items()})


def known_from(
    profile: ServingProfile, owners: Sequence[Owners], vendors: Mapping[str, str]
) -> ServingProfile:
    """The rows that these configurations tell of, with their numbers, and means of them for all others.

    vendors: of each device. A vendor's pace is the mean of its devices, anybody's that of all; the engine
    that stands for unknown ones is the mean of the newest generation.
    """
    software = _told(profile.software, [own[0] for own in owners])
    paces = _told(profile.paces, [own[1] for own in owners])
    means: list[Pace] = []
    for generation in dict.fromkeys(row.generation for row in paces):
        alike = [row for row in paces if row.generation == generation]
        for name in (*dict.fromkeys(vendors[row.device] for row in alike), ANY):
            rows = [row for row in alike if name in (vendors[row.device], ANY)]
            means.append(_mean(rows, PACE_WIDTHS, device=name))
    newest = max(row.generation for row in software)
    anyone = _mean(
        [row for row in software if row.generation == newest],
        HOST_WIDTHS,
        engine=ANY,
        title="an engine that nobody measured",
        since="",
        from_version="",
    )
    return profile.model_copy(update={"software": (*software, anyone), "paces": (*paces, *means)})


R = TypeVar("R", Software, Pace)


def _told(table: Sequence[R], rows: Sequence[int]) -> list[R]:
    """The rows of a table that some configuration tells of, with how many do."""
    count = Counter(rows)
    return [row.model_copy(update={"rows": count[index]}) for index, row in enumerate(table) if count[index]]


def _mean(rows: Sequence[R], fields: Iterable[str], **named: str) -> R:
    """The geometric mean of rows, under another name; no configuration stands behind it."""
    means = {field: float(np.exp(np.mean([np.log(getattr(row, field)) for row in rows]))) for field in fields}
    return rows[0].model_copy(update={**means, **named, "rows": 0})
