"""A serving profile fitted to measured configurations: what hosts cost, and the pace of devices.

Each parameter is the exponential of a number with a normal prior, whose centre is what is believed without
the rows. The most probable numbers are found by damped Gauss-Newton steps on the logarithms of predicted over
measured figures, with Huber's loss: beyond a few per cent an error counts in proportion to its size. A figure
depends on one engine's host and one device's pace, so that one run of all configurations tells the slope of
a parameter for all engines, or all devices, at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shardwright.calibrate.measured.bench import Seen, run_bench
from shardwright.calibrate.measured.configuration import METRICS, Configuration, software_of
from shardwright.cost.host import Host
from shardwright.cost.software import Pace, ServingProfile, Software, host_of, pace_of
from shardwright.serving.times import Floats

HOST_WIDTHS: Mapping[str, float] = {
    "step_us": 1.5,
    "sequence_us": 1.5,
    "layer_us": 1.5,
    "prefill_us": 1.5,
    "least_prefill_layer_us": 1.0,
    "api_us": 1.5,
    "api_token_us": 1.0,
}
PACE_WIDTHS: Mapping[str, float] = {"decode": 0.3, "prefill": 0.4}
"""Standard deviations of the logarithms, of what is believed without any row."""

ERRORS: Mapping[str, float] = {"tpot_s": 0.12, "ttft_s": 0.3, "output_tokens_per_s": 0.15, "e2e_s": 0.15}
"""How far a good prediction of each figure is off."""

WEIGHTS: Mapping[str, float] = {"tpot_s": 1.0, "ttft_s": 0.4, "output_tokens_per_s": 0.5, "e2e_s": 1.0}
"""A closed loop's throughput follows from its other two; TTFT hangs on a client's first instants."""

KNEE = 1.25
"""Errors beyond so many times ERRORS count in proportion, below by their square."""

SLOPE = 0.05
ROUNDS = 8
GOOD_ENOUGH = 2e-3
LARGEST_STEP = 1.0


@dataclass(frozen=True)
class Place:
    """A row of a table of the profile, and one of its fitted fields."""

    table: str
    row: int
    field: str


def fit_serving(
    rows: Sequence[Configuration],
    believed: ServingProfile,
    *,
    width: float = 1.0,
    say: Callable[[str], None] = lambda text: None,
) -> ServingProfile:
    """The profile with the numbers of its engines and devices that the rows speak of as the rows have them.

    width: by how much wider than HOST_WIDTHS and PACE_WIDTHS the priors around `believed` are.
    """
    owners = [_owners(row, believed) for row in rows]
    places = _places(owners)
    priors = np.array([_width(place) * width for place in places])
    theta, damping = np.zeros(len(places)), 1e-2
    weights = np.array([[WEIGHTS[metric] for metric in METRICS]] * len(rows))
    scale = np.array([ERRORS[metric] for metric in METRICS])

    def errors(profile: ServingProfile) -> Floats:
        return log_errors(rows, profile)

    def loss(found: Floats, at: Floats) -> float:
        z = np.abs(np.nan_to_num(found)) / scale
        huber = np.where(z < KNEE, z * z / 2, KNEE * (z - KNEE / 2))
        return float((weights * huber).sum() + ((at / priors) ** 2).sum() / 2)

    profile, now = believed, errors(believed)
    best = loss(now, theta)
    for turn in range(ROUNDS):
        slopes = _slopes(rows, owners, places, profile, now)
        z = np.nan_to_num(now)
        pull = (weights / np.maximum(1.0, np.abs(z / scale) / KNEE) / scale**2).ravel()
        curvature = slopes.T @ (pull[:, None] * slopes) + np.diag(priors**-2.0)
        gradient = slopes.T @ (pull * z.ravel()) + theta / priors**2
        for _ in range(5):
            damped = curvature + damping * np.diag(np.diag(curvature))
            step = np.clip(-np.linalg.solve(damped, gradient), -LARGEST_STEP, LARGEST_STEP)
            tried = moved(believed, places, theta + step)
            found = errors(tried)
            if loss(found, theta + step) < best:
                break
            damping *= 5
        else:
            break
        before, best = best, loss(found, theta + step)
        profile, theta, now, damping = tried, theta + step, found, damping / 3
        say(f"round {turn + 1}: loss {best:.1f}")
        if before - best < GOOD_ENOUGH * before:
            break
    return _counted(profile, owners)


def log_errors(rows: Sequence[Configuration], profile: ServingProfile) -> Floats:
    """ln(predicted / measured): (rows, METRICS), NaN where nothing was measured."""
    found = np.full((len(rows), len(METRICS)), np.nan)
    for index, row in enumerate(rows):
        seen = predicted(row, profile)
        for column, metric in enumerate(METRICS):
            value = getattr(seen, metric)
            if metric in row.measured and value:
                found[index, column] = np.log(value / row.measured[metric])
    return found


def predicted(row: Configuration, profile: ServingProfile) -> Seen:
    """What the clients of a configuration see by this profile."""
    return run_bench(row.bench, case_host(row, profile))


def case_host(row: Configuration, profile: ServingProfile) -> Host:
    """The host and the pace of a configuration."""
    case = row.bench.case
    software = software_of(case, profile)
    return host_of(software, pace_of(profile, case.cluster.device, software), case.model.num_layers)


def moved(profile: ServingProfile, places: Sequence[Place], by: Floats) -> ServingProfile:
    """The profile with the fields at these places multiplied by exp(by)."""
    tables: dict[str, list[Software | Pace]] = {
        "software": list(profile.software),
        "paces": list(profile.paces),
    }
    for place, step in zip(places, by, strict=True):
        row = tables[place.table][place.row]
        value = getattr(row, place.field) * float(np.exp(step))
        tables[place.table][place.row] = row.model_copy(update={place.field: value})
    return profile.model_copy(update={name: tuple(table) for name, table in tables.items()})


Owners = tuple[int, int]
"""Of one configuration: its row of the software, and of the paces."""


def _owners(row: Configuration, profile: ServingProfile) -> Owners:
    case = row.bench.case
    software = software_of(case, profile)
    pace = pace_of(profile, case.cluster.device, software)
    return profile.software.index(software), profile.paces.index(pace)


def _places(owners: Sequence[Owners]) -> list[Place]:
    hosts, devices = sorted({host for host, _ in owners}), sorted({device for _, device in owners})
    return [
        *(Place("software", row, field) for row in hosts for field in HOST_WIDTHS),
        *(Place("paces", row, field) for row in devices for field in PACE_WIDTHS),
    ]


def _width(place: Place) -> float:
    return (HOST_WIDTHS if place.table == "software" else PACE_WIDTHS)[place.field]


def _slopes(
    rows: Sequence[Configuration],
    owners: Sequence[Owners],
    places: Sequence[Place],
    profile: ServingProfile,
    now: Floats,
) -> Floats:
    """Of the errors by the logarithm of each parameter: (rows x METRICS, places)."""
    slopes = np.zeros((len(rows), len(METRICS), len(places)))
    for field in (*HOST_WIDTHS, *PACE_WIDTHS):
        alike = [index for index, place in enumerate(places) if place.field == field]
        shifted = moved(profile, [places[index] for index in alike], np.full(len(alike), SLOPE))
        slope = np.nan_to_num((log_errors(rows, shifted) - now) / SLOPE)
        for index in alike:
            side = 0 if places[index].table == "software" else 1
            mine = [own[side] == places[index].row for own in owners]
            slopes[mine, :, index] = slope[mine]
    return slopes.reshape(-1, len(places))


def _counted(profile: ServingProfile, owners: Sequence[Owners]) -> ServingProfile:
    """The profile with the numbers of configurations behind its rows."""

    def count(table: Sequence[Software | Pace], side: int) -> tuple[Software | Pace, ...]:
        behind = [sum(own[side] == index for own in owners) for index in range(len(table))]
        return tuple(
            row.model_copy(update={"rows": number}) if number else row
            for row, number in zip(table, behind, strict=True)
        )

    return profile.model_copy(
        update={"software": count(profile.software, 0), "paces": count(profile.paces, 1)}
    )
