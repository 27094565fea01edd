"""Checks of stated speeds against the floor of reading weights and against the prediction.

A speed inside the predicted interval is possible, not confirmed: only what follows from the inputs is.
"""

from collections.abc import Iterator

from shardwright.audit.check import Check, Outcome
from shardwright.audit.digits import range_of, shown
from shardwright.audit.floor import counted
from shardwright.audit.record import Status
from shardwright.audit.subject import Subject
from shardwright.units import Estimate, format_rate, format_seconds

MS = 1e-3


def tpot(subject: Subject) -> Iterator[Outcome]:
    """The claimed time between tokens against the floor and the predicted interval."""
    claimed, floor = subject.claims.tpot_ms or 0.0, subject.floor
    predicted = subject.pool.figures.tpot_s.scaled(1 / MS)
    below = range_of(claimed)[1] < floor.step_s / MS
    status, sentence = _against(claimed, predicted, "ms")
    if below:
        status = "contradicted"
        sentence = (
            f"{shown(claimed)} ms is less than the {format_seconds(floor.step_s)} that it takes to read the "
            f"weights, {floor.reads}."
        )
    yield Outcome(
        status=status,
        claim=f"{shown(claimed)} ms a token",
        truth=f"{_range(predicted, 'ms')} predicted",
        sentence=sentence,
        arithmetic=(
            counted(subject.pool.layout, floor, subject.deployment),
            f"predicted: {_range(predicted, 'ms')}",
        ),
        numbers={"claimed": claimed, "floor": floor.step_s / MS, **_figures(predicted)},
        decisive=below or claimed < predicted.low,
    )


def ttft(subject: Subject) -> Iterator[Outcome]:
    """The claimed time to the first token against the predicted interval."""
    claimed, predicted = subject.claims.ttft_ms or 0.0, subject.pool.figures.ttft_s.scaled(1 / MS)
    status, sentence = _against(claimed, predicted, "ms")
    yield Outcome(
        status=status,
        claim=f"{shown(claimed)} ms to the first token",
        truth=f"{_range(predicted, 'ms')} predicted",
        sentence=sentence,
        arithmetic=(f"predicted: {_range(predicted, 'ms')}",),
        numbers={"claimed": claimed, **_figures(predicted)},
        decisive=claimed < predicted.low,
    )


def throughput(subject: Subject) -> Iterator[Outcome]:
    """The claimed rate against the ceiling of reading weights and the predicted interval."""
    claimed, floor = subject.claims.throughput_tokens_per_s or 0.0, subject.floor
    predicted = subject.pool.figures.throughput_tokens_per_s
    above = range_of(claimed)[0] > floor.ceiling_tokens_per_s
    status, sentence = _against(claimed, predicted, "tokens/s")
    if above:
        status = "contradicted"
        sentence = (
            f"{format_rate(claimed)} is more than the ceiling of {format_rate(floor.ceiling_tokens_per_s)} "
            f"of {subject.deployment.workload.batch} sequences, with weights of {floor.reads}."
        )
    yield Outcome(
        status=status,
        claim=format_rate(claimed),
        truth=f"{_range(predicted, 'tokens/s')} predicted",
        sentence=sentence,
        arithmetic=(
            counted(subject.pool.layout, floor, subject.deployment),
            f"predicted: {_range(predicted, 'tokens/s')}",
        ),
        numbers={"claimed": claimed, "ceiling": floor.ceiling_tokens_per_s, **_figures(predicted)},
        decisive=above or claimed > predicted.high,
    )


def communication(subject: Subject) -> Iterator[Outcome]:
    """The claimed share of exposed communication against the predicted interval, both in per cent."""
    claimed = round((subject.claims.communication_fraction or 0.0) * 100, 6)
    predicted = subject.pool.figures.communication_fraction.scaled(100)
    status, sentence = _against(claimed, predicted, "%")
    families = subject.pool.seconds_by_family
    yield Outcome(
        status=status,
        claim=f"{shown(claimed)} % of a step",
        truth=f"{_range(predicted, '%')} predicted",
        sentence=sentence,
        arithmetic=tuple(
            f"{name}: {format_seconds(seconds)} of a pass" for name, seconds in families.items()
        ),
        numbers={"claimed": claimed, **_figures(predicted)},
    )


def _against(claimed: float, predicted: Estimate, unit: str) -> tuple[Status, str]:
    """A claim, to its digits, held against an interval, and in words."""
    low, high = range_of(claimed)
    figure = f"{shown(claimed)} {unit}"
    if low > predicted.high or high < predicted.low:
        return "contradicted", f"{figure} is outside the prediction of {_range(predicted, unit)}."
    return "unsupported", (
        f"{figure} is possible: the prediction is {_range(predicted, unit)}. A prediction proves no speed; "
        "measure it."
    )


def _range(figure: Estimate, unit: str) -> str:
    return f"{shown(figure.value)} {unit} ({shown(figure.low)} to {shown(figure.high)})"


def _figures(predicted: Estimate) -> dict[str, float]:
    return {"predicted": predicted.value, "low": predicted.low, "high": predicted.high}


SPEED = (
    Check(id="tpot", title="Time between tokens", judge=tpot, claims=("tpot_ms",)),
    Check(id="ttft", title="Time to the first token", judge=ttft, claims=("ttft_ms",)),
    Check(id="throughput", title="Throughput", judge=throughput, claims=("throughput_tokens_per_s",)),
    Check(
        id="communication",
        title="Share of communication",
        judge=communication,
        claims=("communication_fraction",),
    ),
)
