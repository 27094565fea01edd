"""Predicted beside measured: every row of a file predicted, and how far from what was measured, by slice."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from shardwright import __version__
from shardwright.calibrate.measured.case import Case, case_of
from shardwright.calibrate.measured.configuration import METRICS, Configuration, configurations, one_row
from shardwright.calibrate.measured.coverage import Coverage, coverage
from shardwright.calibrate.measured.doubts import doubts_of
from shardwright.calibrate.measured.left_out import device, engine, family
from shardwright.calibrate.measured.prediction import Predicted, Tick, TtftParts, predict
from shardwright.calibrate.measured.refusal import Refusal
from shardwright.calibrate.measured.row import Row
from shardwright.cost.profile import Profile
from shardwright.cost.software import ServingProfile
from shardwright.record import Record
from shardwright.units import Estimate

OK = "ok"

Unit = Literal["row", "configuration"]
By = Literal["all", "mode", "family", "gpu", "engine", "doubt"]
Slice = tuple[By, str, Sequence[Configuration]]

UNITS: tuple[Unit, ...] = get_args(Unit)

SOUND, EVERY = "sound", "all"
"""What no rule doubts, and the rest with it."""


class Prediction(Record):
    """One row. status: ok, or why it cannot be predicted, of which `rule` is the name. doubts: rules by which
    nobody can have measured it so (doubts.DOUBTS); it is predicted all the same.

    Times as the row states them, medians or means (Harness.by_median). Throughput: output tokens,
    prompts left out, of a static batch too. A part is None where the run has none: a saturated run of more
    requests than are simulated has no TTFT of its own.
    """

    row_id: str
    status: str
    rule: str = ""
    doubts: tuple[str, ...] = ()
    ttft_s: Estimate | None = None
    tpot_s: Estimate | None = None
    output_tokens_per_s_per_gpu: Estimate | None = None
    e2e_s: Estimate | None = None


class Score(Record):
    """Errors of one metric over one slice: |predicted / measured - 1|, the median of predicted / measured as
    `bias`, and the share that lies inside the interval. count: of rows, or of configurations, whose rows of
    several days count once, by their medians."""

    by: By
    name: str
    unit: Unit
    metric: str
    count: int
    median: float
    p90: float
    bias: float
    inside: float


class TtftPart(Record):
    """share: the mean over rows of what it takes of a row's predicted mean TTFT; median_s: of its seconds."""

    name: str
    share: float
    median_s: float


class TtftShares(Record):
    """Where the predicted TTFT of a slice goes. parts: of prediction.TtftParts; polling is in the queues."""

    by: By
    name: str
    rows: int
    median_s: float
    parts: tuple[TtftPart, ...]


class Validation(Record):
    """Rows predicted, and how near. scores, ttft: of rows that no rule doubts, but where their name says
    otherwise. profile: of serving, by which all was predicted."""

    schema_version: Literal[1] = 1
    tool_version: str
    profile: str
    rows: tuple[Prediction, ...]
    coverage: tuple[Coverage, ...]
    scores: tuple[Score, ...]
    ttft: tuple[TtftShares, ...]


@dataclass(frozen=True)
class _Told:
    """A predicted row, by itself."""

    row: Configuration
    predicted: Predicted
    doubts: tuple[str, ...]


GROUPS: Mapping[By, Callable[[Configuration], str]] = {
    "mode": lambda row: row.bench.case.row.mode,
    "engine": engine,
    "gpu": device,
    "family": family,
}


def validate_rows(
    rows: Sequence[Row],
    profile: ServingProfile,
    tick: Tick = lambda cases: None,
    own: Profile | None = None,
) -> Validation:
    """All rows, in order, each predicted or refused by a rule; own: of a GPU of one's own."""
    readings = [case_of(row, own) for row in rows]
    cases = [each for each in readings if isinstance(each, Case)]
    tick(len(rows) - len(cases))
    doubts = {id(case): doubts_of(case) for case in cases}
    outcomes = iter(predict(cases, profile, tick))
    found = [next(outcomes) if isinstance(each, Case) else each for each in readings]
    told = [
        _Told(one_row(each.bench), each, doubts[id(each.bench.case)])
        for each in found
        if isinstance(each, Predicted)
    ]
    return Validation(
        tool_version=__version__,
        profile=f"{profile.source} ({profile.date})",
        rows=tuple(_prediction(each, doubts) for each in found),
        coverage=coverage(
            (each.bench.case if isinstance(each, Predicted) else each for each in found),
            lambda case: doubts[id(case)],
        ),
        scores=tuple(_scores(told, profile)),
        ttft=tuple(_ttft([each for each in told if not each.doubts])),
    )


def _prediction(found: Predicted | Refusal, doubts: Mapping[int, tuple[str, ...]]) -> Prediction:
    if isinstance(found, Refusal):
        status = " ".join(f"{found.rule}: {found.sentence}".split())
        return Prediction(row_id=found.row.row_id, status=status, rule=found.rule)
    figures, case = found.figures, found.bench.case
    return Prediction(
        row_id=case.row.row_id,
        status=OK,
        doubts=doubts[id(case)],
        ttft_s=figures.get("ttft_s"),
        tpot_s=figures.get("tpot_s"),
        output_tokens_per_s_per_gpu=figures["output_tokens_per_s"].scaled(1 / case.row.gpus),
        e2e_s=figures.get("e2e_s"),
    )


def _scores(told: Sequence[_Told], profile: ServingProfile) -> Iterator[Score]:
    sound = [each for each in told if not each.doubts]
    figures = {id(each.predicted.bench): each.predicted.figures for each in told}
    for unit in UNITS:
        few = _units(sound, unit, profile)
        slices: list[Slice] = [("all", SOUND, few), ("all", EVERY, _units(told, unit, profile))]
        for by, group in GROUPS.items():
            slices += [(by, name, members) for name, members in _grouped(few, group)]
        if unit == "row":
            rules = dict.fromkeys(rule for each in told for rule in each.doubts)
            slices += [("doubt", rule, [each.row for each in told if rule in each.doubts]) for rule in rules]
        for by, name, members in slices:
            for metric in METRICS:
                pairs = [
                    (figures[id(row.bench)][metric], row.measured[metric])
                    for row in members
                    if metric in row.measured and metric in figures[id(row.bench)]
                ]
                if pairs:
                    yield _score(by, name, unit, metric, pairs)


def _grouped(
    rows: Iterable[Configuration], group: Callable[[Configuration], str]
) -> list[tuple[str, list[Configuration]]]:
    found: dict[str, list[Configuration]] = {}
    for row in rows:
        found.setdefault(group(row), []).append(row)
    return sorted(found.items())


def _units(told: Sequence[_Told], unit: Unit, profile: ServingProfile) -> list[Configuration]:
    if unit == "row":
        return [each.row for each in told]
    return configurations((each.row.bench for each in told), profile)


def _score(by: By, name: str, unit: Unit, metric: str, pairs: Sequence[tuple[Estimate, float]]) -> Score:
    """pairs: predicted, measured."""
    ratios = np.array([figure.value / measured for figure, measured in pairs])
    off = np.abs(ratios - 1)
    return Score(
        by=by,
        name=name,
        unit=unit,
        metric=metric,
        count=len(pairs),
        median=float(np.median(off)),
        p90=float(np.percentile(off, 90)),
        bias=float(np.median(ratios)),
        inside=float(np.mean([figure.low <= measured <= figure.high for figure, measured in pairs])),
    )


PARTS: Mapping[str, Callable[[TtftParts], float]] = {
    "api": lambda parts: parts.api_s,
    "first wave": lambda parts: parts.first_wave_s,
    "queue": lambda parts: parts.queue_s,
    "prefill": lambda parts: parts.prefill_s,
    "polling": lambda parts: parts.polling_s,
}


def _ttft(told: Sequence[_Told]) -> Iterator[TtftShares]:
    """Of runs that are told by their TTFT: requests that come one by one."""
    parts = {id(each.row.bench): each.predicted.parts for each in told}
    steady = [each.row for each in told if each.row.bench.case.kind in ("closed", "open")]
    slices: list[Slice] = [("all", SOUND, steady)] if steady else []
    for by in ("engine", "gpu"):
        slices += [(by, name, members) for name, members in _grouped(steady, GROUPS[by])]
    for by, name, members in slices:
        spent = [parts[id(row.bench)] for row in members]
        whole_s = np.array([each.whole_s for each in spent])
        seconds = {part: np.array([get(each) for each in spent]) for part, get in PARTS.items()}
        yield TtftShares(
            by=by,
            name=name,
            rows=len(members),
            median_s=float(np.median(whole_s)),
            parts=tuple(
                TtftPart(name=part, share=float(np.mean(each / whole_s)), median_s=float(np.median(each)))
                for part, each in seconds.items()
            ),
        )


FIGURES: Mapping[str, tuple[Callable[[Prediction], Estimate | None], float]] = {
    "ttft_ms": (lambda row: row.ttft_s, 1e3),
    "tpot_ms": (lambda row: row.tpot_s, 1e3),
    "output_tok_s_per_gpu": (lambda row: row.output_tokens_per_s_per_gpu, 1.0),
    "e2e_ms": (lambda row: row.e2e_s, 1e3),
}
"""Column -> figure of a row, and its factor."""

COLUMNS = (
    "row_id",
    *(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")),
    "status",
    "doubts",
)


def predictions_csv(rows: Iterable[Prediction]) -> str:
    """The rows as CSV: COLUMNS, a line each in order; a cell is blank where there is no figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = [row.row_id]
        for figure_of, factor in FIGURES.values():
            figure = figure_of(row)
            ends = (None,) * 3 if figure is None else (figure.value, figure.low, figure.high)
            cells += ["" if end is None else f"{end * factor:.4f}" for end in ends]
        writer.writerow([*cells, row.status, " ".join(row.doubts)])
    return text.getvalue()
