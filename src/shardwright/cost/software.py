"""Engines as they were measured: what their hosts cost, by engine and date, and the pace of each device.

Fitted to measured serving rows (calibrate/serving); software.yaml says which, and when.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Literal, get_args

import yaml

from shardwright.cluster.device import Device
from shardwright.cost.host import Host
from shardwright.errors import InputError
from shardwright.record import Record, validated

ANY = "any"
"""The engine, and the device, that stand for those that nobody measured."""


class Software(Record):
    """One engine from a date, or from a version, on. Times of its host: cost/host.py says what they are.

    layer_us: of each layer in every step; least_prefill_layer_us: of least_prefill_s. overlaps: whether its
    host prepares a step while the devices run the one before. generation: of its kernels. rows:
    configurations that it was fitted to.
    """

    engine: str
    generation: str
    since: str = ""
    from_version: str = ""
    title: str
    overlaps: bool = False
    step_us: float
    sequence_us: float
    layer_us: float
    prefill_us: float
    least_prefill_layer_us: float
    api_us: float
    api_token_us: float
    rows: int


class Pace(Record):
    """Shares of what a device's operators take alone, in steps without and with prompts, with the kernels of
    a generation of engines. device: its name, or its vendor, or any."""

    device: str
    generation: str
    decode: float
    prefill: float
    rows: int


Metric = Literal["tpot", "ttft", "throughput", "batch"]
"""batch: the seconds of a batch that nobody joins, from its start to its end."""

CLIENT_METRICS: tuple[Metric, ...] = ("tpot", "ttft", "throughput")

Distance = Literal["model", "device", "engine"]
"""What nobody measured with the rest: the model alone, the device too, or even the engine."""


class Spread(Record):
    """Nine of ten measured figures lie between low and high times the predicted one, where what `left_out`
    says was kept from the fit. rows: configurations behind it."""

    metric: Metric
    left_out: Distance
    low: float
    high: float
    rows: int


class ServingProfile(Record):
    """All that was fitted to measured serving: engines, newest first for each, and devices."""

    source: str
    date: str
    software: tuple[Software, ...]
    paces: tuple[Pace, ...]
    spreads: tuple[Spread, ...] = ()


def software_for(profile: ServingProfile, engine: str, *, version: str = "", date: str = "") -> Software:
    """The engine as it was in a version, else on a date (ISO, or a part of one); by default the newest."""
    own = [row for row in profile.software if row.engine == engine]
    rows = own or [row for row in profile.software if row.engine == ANY]
    if numbers := _numbers(version):
        fits = [row for row in rows if _numbers(row.from_version) <= numbers]
    else:
        fits = [row for row in rows if not date or row.since <= date]
    return (fits or rows[-1:])[0]


def _numbers(version: str) -> tuple[int, ...]:
    """Those that a version begins with: (0, 5, 9) of v0.5.9-cu130; none of a name."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found[1].split("."))) if found else ()


def pace_of(profile: ServingProfile, device: Device, software: Software) -> Pace:
    """The device's own with such kernels, else its vendor's, else anybody's."""
    rows = {(row.device, row.generation): row for row in profile.paces}
    names = (device.name, device.vendor, ANY)
    return next(row for name in names if (row := rows.get((name, software.generation))))


def spread_of(profile: ServingProfile, metric: Metric, software: Software, pace: Pace) -> Spread:
    """How far measured figures are from the predicted ones, with this knowledge of the engine and device."""
    lacking: Distance = "engine" if software.engine == ANY else "device" if not pace.rows else "model"
    return next(row for row in profile.spreads if (row.metric, row.left_out) == (metric, lacking))


def host_of(software: Software, pace: Pace, num_layers: int) -> Host:
    """The host's costs for a model of so many layers on such devices."""
    us = 1e-6
    own_s = (software.step_us + software.layer_us * num_layers) * us
    return Host(
        step_s=0.0 if software.overlaps else own_s,
        least_s=own_s if software.overlaps else 0.0,
        sequence_s=software.sequence_us * us,
        prefill_s=software.prefill_us * us,
        least_prefill_s=software.least_prefill_layer_us * num_layers * us,
        api_s=software.api_us * us,
        api_token_s=software.api_token_us * us,
        decode=pace.decode,
        prefill=pace.prefill,
    )


def serving_text(profile: ServingProfile) -> str:
    """The profile as its file holds it."""
    return profile.model_dump_json(indent=1) + "\n"


def serving_file(path: Path) -> ServingProfile:
    """The profile in a file, as `calibrate --from ROWS.csv -o` writes it. Raises InputError where there is
    none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("serving", str(path), f"a readable file ({error.strerror})") from None
    except (ValueError, RecursionError):
        allowed = "a JSON file, as `shardwright calibrate --from ROWS.csv -o` writes it"
        raise InputError("serving", str(path), allowed) from None
    profile = validated(ServingProfile, values, field="serving", where=str(path))
    if lacking := next(_lacking(profile), None):
        allowed = "a whole profile, as `shardwright calibrate --from ROWS.csv -o` writes it"
        raise InputError("serving", f"no {lacking}", allowed, where=str(path))
    return profile


def _lacking(profile: ServingProfile) -> Iterator[str]:
    """Rows without which some engine, device or figure has nothing that stands for it."""
    if ANY not in {row.engine for row in profile.software}:
        yield f"software of engine {ANY}"
    paces = {(row.device, row.generation) for row in profile.paces}
    for generation in dict.fromkeys(row.generation for row in profile.software):
        if (ANY, generation) not in paces:
            yield f"pace of device {ANY}, generation {generation}"
    spreads = {(row.metric, row.left_out) for row in profile.spreads}
    for metric, distance in product(get_args(Metric), get_args(Distance)):
        if (metric, distance) not in spreads:
            yield f"spread of {metric}, {distance} left out"


@cache
def shipped_serving() -> ServingProfile:
    """The profile that is shipped."""
    text = (Path(__file__).parent / "software.yaml").read_text(encoding="utf-8")
    return ServingProfile.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
