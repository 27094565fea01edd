"""The layout that a document's strategy means: its readings against the GPUs, and the way to more GPUs."""

import numpy as np

from shardwright.audit.record import GrowthStep, ReadingRow
from shardwright.cluster.cluster import Cluster
from shardwright.engine.catalog import ENGINES
from shardwright.engine.engine import Breach, Degrees, Engine, Rule, Verdict, breaches
from shardwright.engine.rules import num_gpus, over
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout, is_canonical
from shardwright.layout.readings import Reading, match, readings
from shardwright.layout.stated import Stated, parse_stated
from shardwright.model.spec import ModelSpec
from shardwright.plan.deployment import Deployment
from shardwright.plan.strategy import resolve_layout
from shardwright.record import Size

CANONICAL = "canonical"
"""The rule of the one reading that a canonical form has."""


def read(deployment: Deployment, text: str) -> tuple[Stated, tuple[Reading, ...]]:
    """The degrees that `text` states, and its readings; a canonical form has one.

    Raises InputError for what is no strategy.
    """
    if not is_canonical(text):
        stated = parse_stated(text)
        return stated, readings(stated, has_experts=deployment.model.experts is not None)
    layout, sentence = resolve_layout(deployment, text)
    names = ("tp", "dp", "pp", "ep", "etp", "edp", "copies")
    degrees = {name: getattr(layout, name) for name in names if getattr(layout, name) > 1}
    return Stated.model_validate({"text": text, **degrees}), (canonical(layout, sentence),)


def canonical(layout: Layout, sentence: str) -> Reading:
    """The one reading of a canonical form."""
    return Reading(
        gpus=layout.num_gpus,
        gpus_per_copy=layout.gpus_per_copy,
        layout=layout,
        canonical=format_layout(layout),
        rule=CANONICAL,
        sentence=sentence,
        source="canonical form",
    )


def choose(found: tuple[Reading, ...], declared: int, available: int) -> tuple[Reading | None, str]:
    """The one reading that the GPUs decide on, and why; None when they decide on none.

    Readings of exactly the declared GPUs come first, then those that fit the available ones. Readings that
    keep every stated degree go before those that do not.
    """
    exact = _keeping(match(found, declared)) or match(found, declared)
    if len(exact) == 1:
        lost = f"; but {exact[0].contradicts}" if exact[0].contradicts else ""
        return exact[0], f"{exact[0].canonical} takes exactly the {declared} GPUs declared{lost}"
    if exact:
        return None, f"{_many(exact)} take {declared} GPUs: state one of them in its canonical form"
    fitting = _keeping(tuple(reading for reading in found if reading.gpus <= available))
    if len(fitting) == 1:
        only = fitting[0]
        return only, (
            f"no reading takes the {declared} GPUs declared; {only.canonical}, {only.gpus} GPUs, is the only "
            f"one that keeps every stated degree on the {available} there are"
        )
    if fitting:
        return None, f"no reading takes {declared} GPUs, but {_many(fitting)} fit: state one of them"
    smallest = min(found, key=lambda reading: reading.gpus)
    return None, (
        f"no reading that keeps the stated degrees fits {available} GPUs; the smallest reading, "
        f"{smallest.canonical}, takes {smallest.gpus}"
    )


def rows(found: tuple[Reading, ...], deployment: Deployment, declared: int) -> tuple[ReadingRow, ...]:
    """Every reading with the engines that can run it and the GPUs that it lacks."""
    available = deployment.usable_gpus
    return tuple(
        ReadingRow(
            gpus=reading.gpus,
            gpus_per_copy=reading.gpus_per_copy,
            layout=reading.canonical,
            rule=reading.rule,
            sentence=reading.sentence,
            source=reading.source,
            contradicts=reading.contradicts,
            also=reading.also,
            engines=engines_of_any_size(reading.layout, deployment),
            matches_declared=reading.gpus == declared,
            fits_cluster=reading.gpus <= available,
            shortfall=max(0, reading.gpus - available),
        )
        for reading in found
    )


def engines_of_any_size(layout: Layout, deployment: Deployment) -> tuple[str, ...]:
    """The engines whose rules the layout keeps on as many nodes as it takes."""
    return tuple(
        engine.id for engine in ENGINES.values() if not breaches_of_any_size(engine, layout, deployment)
    )


def breaches_of_any_size(engine: Engine, layout: Layout, deployment: Deployment) -> list[Breach]:
    """The rules that the layout breaks on as many nodes as it takes."""
    found = breaches(engine, layout, deployment.model, deployment.cluster)
    return [breach for breach in found if breach.rule != "gpus"]


def engine_verdicts(
    deployment: Deployment, stated: Stated, found: tuple[Reading, ...]
) -> tuple[Verdict, ...]:
    """What every engine says: to the string taken literally, or to the one layout of a canonical form."""
    if found and found[0].rule == CANONICAL:
        return tuple(_on_layout(name, found[0], deployment) for name in ENGINES)
    return tuple(engine.read(stated, deployment.model) for engine in ENGINES.values())


def growth_path(found: tuple[Reading, ...], available: int) -> tuple[GrowthStep, ...]:
    """The counts of GPUs beyond those available at which readings become possible, smallest first."""
    counts = sorted({reading.gpus for reading in found if reading.gpus > available})
    return tuple(
        GrowthStep(
            gpus=count,
            more_gpus=count - available,
            layouts=tuple(reading.canonical for reading in found if reading.gpus == count),
        )
        for count in counts
    )


def within(limit: int) -> Rule:
    """A rule that a layout has at most `limit` GPUs."""

    def breach(degrees: Degrees, model: ModelSpec, cluster: Cluster | None) -> Size:
        return np.asarray(over(num_gpus(degrees), limit))

    return Rule(
        id="available",
        sentence=f"The layout has at most {limit} GPUs",
        source="the deployment",
        breach=breach,
        unit="GPUs",
        cure="fewer copies, or a smaller degree",
    )


def _on_layout(name: str, reading: Reading, deployment: Deployment) -> Verdict:
    engine = ENGINES[name]
    found = breaches_of_any_size(engine, reading.layout, deployment)
    sentence = f"{reading.canonical} keeps every rule of the engine"
    if found:
        sentence = f"Broken by {found[0].excess:.0f} {found[0].unit}: {found[0].sentence}"
    return Verdict(
        engine=engine.id,
        version=engine.version,
        accepted=not found,
        rule=found[0].rule if found else CANONICAL,
        sentence=sentence,
        arguments=reading.canonical,
        gpus=None if found else reading.gpus,
        layout=None if found else reading.canonical,
        source=found[0].source if found else engine.version,
    )


def _keeping(found: tuple[Reading, ...]) -> tuple[Reading, ...]:
    return tuple(reading for reading in found if not reading.contradicts)


def _many(found: tuple[Reading, ...]) -> str:
    return ", ".join(f"{reading.canonical} ({reading.gpus})" for reading in found)
