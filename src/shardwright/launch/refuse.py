"""What an engine cannot run is refused, with the nearest layout that it can."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from shardwright.cluster.cluster import Cluster
from shardwright.engine.engine import Degrees, Engine, Rule, breaches
from shardwright.engine.launcher import Launcher
from shardwright.engine.nearest import AXES, nearest
from shardwright.engine.start import Executor
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout, parse_layout
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec
from shardwright.plan.plan import Plan
from shardwright.record import Size
from shardwright.search.start import cannot_span


def checked_launcher(plan: Plan, engine: Engine, executor: Executor) -> Launcher:
    """How the engine starts the plan. Raises InputError where it cannot: by its rules, or on these nodes."""
    layout, cluster = parse_layout(plan.pools[0].layout), plan.deployment.cluster
    model, launcher = plan.deployment.model, engine.launcher
    if launcher is None:
        raise InputError(
            "--engine", engine.id, "an engine that serves: this one is not started by Shardwright"
        )
    if len(plan.pools) > 1:
        raise InputError("plan.pools", len(plan.pools), "one pool: several are not launched together")
    if executor == "ray" and not launcher.ray:
        raise InputError("--executor", executor, f"mp for {engine.title}: its ranks are no actors of Ray")
    found = breaches(engine, layout, model, cluster)
    why = f"{found[0].sentence}: broken by {found[0].excess:.0f} {found[0].unit}" if found else ""
    why = why or cannot_span(engine, layout, cluster)
    if why:
        text = f"a layout that {engine.title} {engine.version} starts ({why})"
        best = nearest_that_starts(engine, layout, model, cluster)
        raise InputError(
            "layout", format_layout(layout), f"{text}; the nearest is {format_layout(best)}" if best else text
        )
    return launcher


def nearest_that_starts(engine: Engine, layout: Layout, model: ModelSpec, cluster: Cluster) -> Layout | None:
    """The legal layout nearest to `layout` whose copies start on this cluster; None where there is none."""
    degrees = {axis: getattr(layout, axis) for axis in (*AXES, "copies")}
    stated = Stated.model_validate({"text": format_layout(layout), **degrees})

    def here(rule: Rule) -> Rule:
        return replace(rule, breach=lambda degrees, model, _: rule.breach(degrees, model, cluster))

    def apart(degrees: Degrees, model: ModelSpec, _: Cluster | None) -> Size:
        return np.array([bool(cannot_span(engine, split, cluster)) for split in _each(degrees)])

    spans = Rule(id="spans", sentence="", source="", breach=apart, unit="", cure="")
    rules = (*(here(rule) for rule in engine.rules), spans)
    homes = [layout.home] if layout.home in engine.homes else engine.homes
    found = nearest(rules, stated, model, homes[0])
    return found[0] if found else None


def _each(degrees: Degrees) -> Iterator[Layout]:
    axes = [np.asarray(getattr(degrees, axis)).tolist() for axis in AXES]
    for row in zip(*axes, strict=True):
        own = dict(zip(AXES, row, strict=True))
        yield Layout.model_construct(**own, copies=int(np.max(degrees.copies)), home=degrees.home)


def refuse_words(name: str, reserved: Iterable[str]) -> None:
    """Raise InputError for a model's name that no argument can be, or that holds what the files stand for."""
    if "\0" in name:
        raise InputError("model.name", name, "a name without NUL: no argument of a program holds it")
    for word in reserved:
        if word in name:
            raise InputError(
                "model.name", name, f"a name without {word}, which stands for something else here"
            )
