"""Measured configurations: rows that differ only in their day are one, measured by its medians."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from shardwright.calibrate.measured.bench import Bench
from shardwright.calibrate.measured.case import Case
from shardwright.cost.host import Host
from shardwright.cost.software import ServingProfile, Software, host_of, pace_of, software_for

METRICS = ("tpot_s", "ttft_s", "output_tokens_per_s", "e2e_s")
"""What may be measured of a run, as bench.Seen names it."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """measured: of METRICS, those that its kind of run is told by. rows: that were measured."""

    bench: Bench
    measured: dict[str, float]
    rows: int


TOLD_BY = {
    "closed": ("tpot_s", "ttft_s", "output_tokens_per_s"),
    "open": ("tpot_s", "ttft_s", "output_tokens_per_s"),
    "static": ("e2e_s",),
    "offline": ("output_tokens_per_s",),
}
"""A static batch is published as one latency; a saturated run's TTFT is its queue."""


def configurations(benches: Iterable[Bench], profile: ServingProfile) -> list[Configuration]:
    """In the order in which each is first met; of an engine before and after a change that `profile` knows
    of, two."""
    alike: dict[tuple[object, ...], list[Bench]] = {}
    for bench in benches:
        alike.setdefault(configuration_key(bench, profile), []).append(bench)
    return [Configuration(bench=rows[0], measured=_medians(rows), rows=len(rows)) for rows in alike.values()]


def software_of(case: Case, profile: ServingProfile) -> Software:
    """The engine that a case ran on."""
    return software_for(profile, case.software, version=case.engine_version, date=case.date)


def host_for(case: Case, profile: ServingProfile) -> Host:
    """What the host of a case costs by this profile, and the pace of its devices."""
    software = software_of(case, profile)
    return host_of(software, pace_of(profile, case.cluster.device, software), case.model.num_layers)


def configuration_key(bench: Bench, profile: ServingProfile) -> tuple[object, ...]:
    """What a configuration is known by. A change of engine settings, as of policies, makes another one."""
    case, row = bench.case, bench.case.row
    return (
        row.source,
        case.model.name,
        row.precision_weights,
        case.cluster.device.name,
        case.cluster.nodes,
        case.software,
        software_of(case, profile),
        case.layout,
        case.kind,
        case.input_tokens,
        case.output_tokens,
        case.concurrency,
        case.request_rate_per_s,
        bench.server.policy,
    )


def one_row(bench: Bench) -> Configuration:
    """A row as a configuration of its own."""
    return Configuration(bench=bench, measured=_medians([bench]), rows=1)


def _medians(rows: list[Bench]) -> dict[str, float]:
    found = {}
    for metric in TOLD_BY[rows[0].case.kind]:
        values = [value for bench in rows if (value := _measured(bench, metric)) is not None]
        if values:
            found[metric] = float(np.median(values))
    return found


def _measured(bench: Bench, metric: str) -> float | None:
    """A metric of one row, in seconds or tokens a second; None where it was not measured."""
    row = bench.case.row
    if metric == "e2e_s":
        return None if row.e2e_ms is None else row.e2e_ms * 1e-3
    value: float | None = getattr(row, metric)
    return value
