"""The best layouts on the same GPUs and on all of them, and where the one under audit loses against them."""

from collections.abc import Iterator

from shardwright.audit.floor import weight_floor
from shardwright.audit.reading import engines_of_any_size
from shardwright.audit.record import Better
from shardwright.audit.subject import Subject
from shardwright.layout.notation import parse_layout
from shardwright.plan.plan import Plan, Pool
from shardwright.search.engine import engine_of
from shardwright.steps.operation import COMMUNICATION
from shardwright.units import format_bytes, format_rate, format_seconds


def better(subject: Subject) -> Iterator[Better]:
    """The same GPUs first; a number of GPUs that fits no layout is left out."""
    if subject.layout is not None and isinstance(subject.best_on_same, Plan):
        yield _better("same GPUs", subject.best_on_same, subject)
    if isinstance(subject.best_on_all, Plan):
        yield _better("all usable GPUs", subject.best_on_all, subject)


def _better(scope: str, plan: Plan, subject: Subject) -> Better:
    pool = plan.pools[0]
    return Better.model_validate(
        {
            "scope": scope,
            "pool": pool,
            "targets": plan.targets,
            "met": plan.met,
            "engines": engines_of_any_size(parse_layout(pool.layout), subject.deployment),
            "reason": plan.reason,
            "because": tuple(_because(subject, pool)),
        }
    )


def _because(subject: Subject, pool: Pool) -> Iterator[str]:
    """What the other layout does better, in seconds a step; nothing for the same layout."""
    if subject.layout is None:
        return
    own, theirs = subject.pool, pool
    if own.layout == theirs.layout:
        yield "It is the layout under audit."
        return
    rates = (own.figures.throughput_tokens_per_s.value, theirs.figures.throughput_tokens_per_s.value)
    on = f", on {theirs.num_gpus} GPUs instead of {own.num_gpus}" if theirs.num_gpus != own.num_gpus else ""
    yield (
        f"{format_rate(rates[1])} instead of {format_rate(rates[0])} predicted, {rates[1] / rates[0]:.2f} "
        f"x{on}."
    )
    if rates[1] < rates[0]:
        yield f"It is the best that {engine_of(subject.deployment).title} can run, though slower."
    read = [
        weight_floor(subject.priced_on, subject.layout),
        weight_floor(subject.deployment, parse_layout(theirs.layout)),
    ]
    if read[1].step_s < read[0].step_s:
        times = [f"{format_bytes(floor.read_bytes)} x {floor.micro_batches}" for floor in read]
        yield (
            f"A GPU reads {times[1]} of weights a step instead of {times[0]}: "
            f"{format_seconds(read[1].step_s)} instead of {format_seconds(read[0].step_s)}."
        )
    talk = [_communication_s(side) for side in (own, theirs)]
    if talk[1] < talk[0]:
        yield f"It communicates for {format_seconds(talk[1])} a pass instead of {format_seconds(talk[0])}."
    steps = (own.figures.step_s.value, theirs.figures.step_s.value)
    if steps[1] < steps[0]:
        yield f"A step takes {format_seconds(steps[1])} instead of {format_seconds(steps[0])}."


def _communication_s(pool: Pool) -> float:
    return sum(seconds for name, seconds in pool.seconds_by_family.items() if name in COMMUNICATION)
