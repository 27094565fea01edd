"""shardwright graph: what every GPU does in a decode step, and when, for people and for viewers."""

from pathlib import Path

import click

from shardwright.cli.inputs import deployment_from, is_plan, layout_for
from shardwright.dag.chakra.files import chakra_files
from shardwright.dag.document import step_document
from shardwright.dag.dot import dot_text
from shardwright.dag.schedule import Order, Schedule, in_words
from shardwright.dag.step import step_timeline
from shardwright.dag.svg import svg_text
from shardwright.dag.trace import trace_json
from shardwright.engine.engine import engine_grid
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.plan.deployment import Deployment
from shardwright.plan.file import read_plan, write_bytes, write_text
from shardwright.search.engine import engine_of
from shardwright.search.timing import num_sequences, offered, overlapped, time_layout
from shardwright.steps.load import decode_load
from shardwright.units import format_seconds

ORDERS: tuple[Order, ...] = ("serial", "pipelined", "overlapped")

MAX_STEPS, MAX_MICRO_BATCHES = 8, 64
"""More are the same over again, and take minutes."""

FORMATS = ("json", "dot", "svg", "perfetto", "chakra")


@click.command("graph")
@click.argument("plan", type=click.Path(path_type=Path), required=False)
@click.option("--layout", help="the graph of this layout: canonical, or as people write it")
@click.option("--engine", help="of this engine instead (beside a deployment file)")
@click.option("--format", "form", type=click.Choice(FORMATS), default="json", help="what to write (json)")
@click.option(
    "--micro-batches",
    type=click.IntRange(1, MAX_MICRO_BATCHES),
    help="in flight (as planned)",
)
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    help="how micro-batches share the GPUs (as planned)",
)
@click.option("--near-ranks", type=click.IntRange(1), help="TP ranks that sum first (as planned)")
@click.option("--batched", is_flag=True, help="one message a peer for all micro-batches of an exchange")
@click.option("--steps", type=click.IntRange(1, MAX_STEPS), default=1, help="decode steps in a row (1)")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="file (stdout); folder for chakra")
def command(
    plan: Path | None,
    layout: str | None,
    engine: str | None,
    form: str,
    micro_batches: int | None,
    order: Order | None,
    near_ranks: int | None,
    batched: bool,
    steps: int,
    output: Path | None,
) -> int:
    """Every operation of a decode step of PLAN (plan.json, its folder, a deployment file), with its times.

    json: documented in docs/schema/stepgraph.json. dot: for Graphviz, equal layers drawn once. svg: the
    timeline as a drawing. perfetto: for ui.perfetto.dev and chrome://tracing. chakra: execution traces
    for network simulators (ASTRA-sim), a file a rank, into a folder.
    """
    if plan is None:
        raise InputError("plan", None, "a plan or a deployment file; --layout goes beside it")
    if form == "chakra" and output is None:
        raise InputError("--output", None, "a folder for the traces of --format chakra, a file a rank")
    deployment = deployment_from(plan, {"layout": layout, "engine": engine})
    split = layout_for(deployment)
    asked = {"order": order, "micro_batches": micro_batches, "near_ranks": near_ranks, "batched": batched}
    changed = {name: value for name, value in asked.items() if value}
    _check(deployment, split, micro_batches, near_ranks or 1)
    schedule = _planned(plan, deployment, split)
    if order == "overlapped" != schedule.order:
        schedule = overlapped(deployment, split, 1).model_copy(
            update={"micro_batches": schedule.micro_batches}
        )
        if not any(one.order == order for one in offered(deployment, split)):
            lacks = f"{engine_of(deployment).title} offers no overlap for {format_layout(split)}"
            click.echo(f"{lacks}: timed as if it did", err=True)
    schedule = schedule.model_copy(update=changed)
    model, runs_on = deployment.model, engine_of(deployment)
    load = decode_load(model, split, deployment.workload, schedule.micro_batches)
    site = (model, runs_on, deployment.cluster, split)
    timeline = step_timeline(*site, load, schedule, num_steps=steps, profile=deployment.profile)
    if timeline.schedule != schedule:
        click.echo(f"{schedule.order} is not faster here: {timeline.schedule.order} is kept", err=True)
    schedule = timeline.schedule
    title = (
        f"{format_layout(split)}, {split.num_gpus} GPUs: {model.name}, {in_words(schedule)}, "
        f"{runs_on.title}: {format_seconds(timeline.makespan_s)}"
    )
    if form == "chakra" and output is not None:
        about = {"tool": "shardwright", "title": title}
        files = chakra_files(timeline, engine_grid(runs_on, split), about)
        written = [write_bytes(output / name, content) for name, content in files]
        click.echo(f"wrote {len(written)} files to {output}", err=True)
        return 0
    match form:
        case "dot":
            text = dot_text(timeline.graph, title)
        case "svg":
            text = svg_text(timeline, title)
        case "perfetto":
            text = trace_json(timeline)
        case _:
            found = step_document(
                timeline,
                layout=format_layout(split),
                model=model.name,
                engine=runs_on.id,
                schedule=schedule,
                num_steps=steps,
            )
            text = found.model_dump_json(indent=1) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        click.echo(f"wrote {write_text(output, text)}", err=True)
    return 0


def _check(deployment: Deployment, layout: Layout, micro_batches: int | None, near_ranks: int) -> None:
    """Raise InputError where there is no such step of the layout."""
    engine = engine_of(deployment)
    if layout.home not in engine.homes:
        allowed = f"a folded layout for {engine.title}, or --engine any: this one has GPUs of experts alone"
        raise InputError("layout", format_layout(layout), allowed)
    if layout.tp % near_ranks:
        raise InputError("--near-ranks", near_ranks, f"a divisor of TP {layout.tp}")
    sequences = num_sequences(deployment, layout)
    if micro_batches is not None and micro_batches > sequences:
        raise InputError("--micro-batches", micro_batches, f"at most the {sequences} sequences of a rank")
    if layout.num_gpus > deployment.usable_gpus:
        lacks = f"{format_layout(layout)} has {layout.num_gpus} GPUs, more than the {deployment.usable_gpus}"
        click.echo(f"{lacks} that are there: timed as if there were as many nodes as it needs", err=True)


def _planned(path: Path, deployment: Deployment, layout: Layout) -> Schedule:
    """The schedule of a plan for its own layout, else the best one of the layout."""
    if is_plan(path):
        pool = read_plan(path).pools[0]
        if pool.layout == format_layout(layout):
            return pool.schedule
    return time_layout(deployment, layout).step.schedule
