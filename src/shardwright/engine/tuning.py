"""What a deployment sets of its engine instead of the defaults: memory, limits of a step, the exchange."""

from dataclasses import replace

from shardwright.engine.engine import Engine, ExchangeMode, SchedulerLimits
from shardwright.record import Count, Fraction, Record


class Tuning(Record):
    """None leaves the engine's default. utilisation is of what the engine's own flag counts it of.

    max_sequences is of one attention rank.
    """

    utilisation: Fraction | None = None
    max_batched_tokens: Count | None = None
    max_sequences: Count | None = None
    exchange: ExchangeMode | None = None


def tuned(engine: Engine, tuning: Tuning) -> Engine:
    """The engine under these settings."""
    if tuning == Tuning():
        return engine
    rule = engine.memory
    limits = tuple(_limited(row, tuning) for row in rule.limits)
    memory = replace(rule, limits=limits)
    if tuning.utilisation is not None:
        memory = replace(memory, utilisation=tuning.utilisation, of=rule.stated_of or rule.of)
    return replace(engine, memory=memory, exchange=tuning.exchange or engine.exchange)


def _limited(row: SchedulerLimits, tuning: Tuning) -> SchedulerLimits:
    return replace(
        row,
        max_batched_tokens=tuning.max_batched_tokens or row.max_batched_tokens,
        max_sequences=tuning.max_sequences or row.max_sequences,
    )
