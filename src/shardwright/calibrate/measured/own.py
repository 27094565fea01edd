"""A serving profile fitted to a few rows of one's own: what they say, where they do not, what is shipped.

Every number is believed to lie near the shipped one, by OWN_WIDTH of what is believed without any row: three
rows move the pace of the device and the host's main costs, and leave alone what they do not tell.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from shardwright.calibrate.measured.bench import Bench, benches
from shardwright.calibrate.measured.case import Case, case_of
from shardwright.calibrate.measured.configuration import METRICS, Configuration, one_row, software_of
from shardwright.calibrate.measured.fit import Fit, fit_serving, log_errors, refitted
from shardwright.calibrate.measured.row import Row
from shardwright.cost.profile import Profile
from shardwright.cost.software import ServingProfile, pace_of
from shardwright.errors import InputError
from shardwright.record import Record
from shardwright.serving.times import Floats

OWN_WIDTH = 1.0
"""Of parameters.TABLES: three rows of a system whose model no fit saw bring TPOT to 6.2 % with it
(benchmarks/serving_accuracy.py --own); with twice as much they bring it less far."""

SHOWS = {"overlaps": False, "step_us": 300.0, "layer_us": 2.0}
"""What is believed of a host that overlaps before its rows are seen: that some of its time shows in every
step. On models that nobody measured such a term costs more than it tells; a few rows tell it: 7.3 % without.
"""


class OwnRow(Record):
    """One row: measured figures, and |predicted / measured - 1| of each by the shipped profile (before), by
    the new one (after), and by one that never saw the row (left_out). Seconds, tokens a second."""

    row_id: str
    metric: str
    measured: float
    before: float
    after: float
    left_out: float | None


class OwnCalibration(Record):
    """A profile fitted to rows of one's own, and how much nearer it is."""

    schema_version: Literal[1] = 1
    profile: ServingProfile
    rows: tuple[OwnRow, ...]
    refused: tuple[str, ...]


def calibrate_rows(
    rows: Sequence[Row],
    shipped: ServingProfile,
    say: Callable[[str], None] = lambda text: None,
    own: Profile | None = None,
) -> OwnCalibration:
    """Fit to all rows that can be predicted; own: of their GPU, where it is one's own.

    Raises InputError where none can, or none has a figure.
    """
    cases = [case_of(row, own) for row in rows]
    ready = benches(case for case in cases if isinstance(case, Case))
    sound = [bench for bench in ready if isinstance(bench, Bench)]
    refusals = [found for found in (*cases, *ready) if not isinstance(found, Case | Bench)]
    refused = tuple(f"{found.row.row_id}: {found.sentence}" for found in refusals)
    configs = [found for bench in sound if (found := one_row(bench)).measured]
    if not configs:
        raise InputError("--from", f"{len(rows)} rows", "a row with a measured TTFT, TPOT or throughput")
    fit = own_fit(configs, shipped, say)
    profile = _marked(fit, configs)
    return OwnCalibration(
        profile=profile,
        rows=tuple(_rows(configs, log_errors(configs, shipped), fit)),
        refused=refused,
    )


def own_fit(
    configs: Sequence[Configuration], shipped: ServingProfile, say: Callable[[str], None] = lambda text: None
) -> Fit:
    """The shipped profile moved to these configurations."""
    return fit_serving(configs, _with_own_rows(shipped, configs), width=OWN_WIDTH, say=say)


def _with_own_rows(profile: ServingProfile, configs: Sequence[Configuration]) -> ServingProfile:
    """The profile with a row for each engine and device of the configurations, as what stood for it."""
    software, paces = list(profile.software), list(profile.paces)
    for row in configs:
        case = row.bench.case
        meant = software_of(case, profile)
        shows = SHOWS if meant.overlaps else {}
        if meant.engine == case.software:
            software[profile.software.index(meant)] = meant.model_copy(update=shows)
        else:
            named = {"engine": case.software, "title": case.software, "rows": 0}
            meant = meant.model_copy(update={**named, **shows})
            if meant not in software:
                software.append(meant)
        pace = pace_of(profile, case.cluster.device, meant)
        if pace.device != case.cluster.device.name:
            own = pace.model_copy(update={"device": case.cluster.device.name})
            if own not in paces:
                paces.append(own)
    return profile.model_copy(update={"software": tuple(software), "paces": tuple(paces)})


def _marked(fit: Fit, configs: Sequence[Configuration]) -> ServingProfile:
    """The profile, with its own rows counted and its source said."""
    profile = fit.profile
    hosts, devices = ([own[side] for own in fit.owners] for side in (0, 1))
    return profile.model_copy(
        update={
            "software": tuple(
                row.model_copy(update={"rows": row.rows + hosts.count(index)})
                for index, row in enumerate(profile.software)
            ),
            "paces": tuple(
                row.model_copy(update={"rows": row.rows + devices.count(index)})
                for index, row in enumerate(profile.paces)
            ),
            "source": f"{len(configs)} rows of one's own over {profile.source}",
        }
    )


def _rows(configs: Sequence[Configuration], before: Floats, fit: Fit) -> list[OwnRow]:
    found = []
    for index, row in enumerate(configs):
        kept = np.arange(len(configs)) != index
        out = log_errors([row], refitted(fit, kept))[0] if len(configs) > 1 else None
        for column, metric in enumerate(METRICS):
            if metric in row.measured:
                found.append(
                    OwnRow(
                        row_id=row.bench.case.row.row_id,
                        metric=metric,
                        measured=row.measured[metric],
                        before=_off(before[index, column]),
                        after=_off(fit.errors[index, column]),
                        left_out=None if out is None else _off(out[column]),
                    )
                )
    return found


def _off(error: float) -> float:
    return float(abs(np.expm1(error)))
