"""What an engine says to a strategy string whose degrees are taken as its own flags."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from shardwright.engine.engine import Rule, Verdict, broken
from shardwright.engine.nearest import AXES, nearest
from shardwright.errors import InputError
from shardwright.layout.grid import MAX_GPUS
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec

MOST_TIES_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One engine's outcome before its rules are applied.

    layout: what the flags make; None where the engine refuses them. rule, sentence, source: the line
    of the engine that decides, with the arithmetic.
    """

    layout: Layout | None
    rule: str
    sentence: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one engine is spoken to.

    flags: the arguments of a legal layout. literal: the arguments that a string's degrees spell out.
    read: what the engine makes of those; called for models without experts only when the string states
    no degree of experts.
    """

    engine: str
    version: str
    source: str
    rules: tuple[Rule, ...]
    flags: Callable[[Layout], list[str]]
    literal: Callable[[Stated], list[str]]
    read: Callable[[Stated, ModelSpec], Outcome]


def spell(degrees: Mapping[str, int | None], *, least: int = 1) -> list[str]:
    """Flag and number of each degree that is given and at least `least`.

    >>> spell({"-tp": 2, "-pp": None, "-dp": 1}, least=2)
    ['-tp', '2']
    """
    given = {flag: degree for flag, degree in degrees.items() if degree and degree >= least}
    return [word for flag, degree in given.items() for word in (flag, str(degree))]


def judge(dialect: Dialect, stated: Stated, model: ModelSpec) -> Verdict:
    """The verdict: accepted with its layout, or refused with the nearest legal one.

    Raises InputError when the product of the degrees goes beyond MAX_GPUS.
    """
    if prod(getattr(stated, axis) or 1 for axis in (*AXES, "copies")) > MAX_GPUS:
        raise InputError("layout", stated.text, f"degrees whose product is at most {MAX_GPUS:,}")
    return settle(dialect, stated, model, _read(dialect, stated, model), " ".join(dialect.literal(stated)))


def settle(dialect: Dialect, stated: Stated, model: ModelSpec, outcome: Outcome, arguments: str) -> Verdict:
    """The verdict on `arguments` of a known outcome: held against the rules, with the nearest legal one."""
    outcome = _obeying(dialect.rules, model, outcome)
    layout, sentence, best = outcome.layout, outcome.sentence, None
    if layout is None:
        best, *others = nearest(dialect.rules, stated, model)
        sentence += f". The nearest legal layout has {best.num_gpus} GPUs"
        if others:
            sentence += "; as near: " + ", ".join(map(format_layout, others[:MOST_TIES_NAMED]))
    return Verdict(
        engine=dialect.engine,
        version=dialect.version,
        accepted=layout is not None,
        rule=outcome.rule,
        sentence=sentence,
        arguments=arguments,
        gpus=layout.num_gpus if layout else None,
        layout=format_layout(layout) if layout else None,
        nearest=format_layout(best) if best else None,
        nearest_arguments=" ".join(dialect.flags(best)) if best else None,
        source=outcome.source,
    )


def _read(dialect: Dialect, stated: Stated, model: ModelSpec) -> Outcome:
    of_experts = {name: getattr(stated, name) or 1 for name in ("ep", "etp", "edp")}
    if model.experts is None and max(of_experts.values()) > 1:
        named = ", ".join(f"{name.upper()}{degree}" for name, degree in of_experts.items() if degree > 1)
        sentence = f"{model.name} has no experts, so {named} has nothing to spread"
        return Outcome(layout=None, rule="dense", sentence=sentence, source=dialect.source)
    return dialect.read(stated, model)


def _obeying(rules: tuple[Rule, ...], model: ModelSpec, outcome: Outcome) -> Outcome:
    """The outcome, without its layout where that breaks a rule."""
    found = broken(rules, outcome.layout, model, None) if outcome.layout else []
    if not found:
        return outcome
    sentence = f"{found[0].sentence}: broken by {found[0].excess:.0f} {found[0].unit}"
    return Outcome(layout=None, rule=found[0].rule, sentence=sentence, source=found[0].source)
