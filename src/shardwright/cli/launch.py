"""shardwright launch: a plan as the commands and files that start it on an engine."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from shardwright.cli.inputs import deployment_from, is_plan
from shardwright.cli.output import print_result
from shardwright.cli.plan import make_plan
from shardwright.cli.starting import engine_environment, progress, running_here, starting_options
from shardwright.engine.engine import Engine
from shardwright.engine.start import Executor
from shardwright.errors import InputError
from shardwright.launch.engines import engine_named, priced_as
from shardwright.launch.here import check_read_back, checked
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.kubernetes.pods import KUBERNETES, in_pods, options_file
from shardwright.launch.launch import LOOPBACK, Launch
from shardwright.launch.make import launch_of
from shardwright.launch.start import Running, Told, check_alive
from shardwright.launch.write import write_launch
from shardwright.layout.notation import parse_layout
from shardwright.plan.file import read_plan
from shardwright.plan.plan import Plan
from shardwright.search.engine import starter_of

if TYPE_CHECKING:
    from rich.console import Console

    from shardwright.launch.check import Check

WATCH_S = 1.0
"""Between two looks at processes that serve."""


@click.command("launch")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--engine", help="vllm, vllm@0.32, sglang, trtllm, afd, torchrun, or kubernetes: the plan's own in pods"
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="folder to write the files to")
@click.option("--host", default=LOOPBACK, help=f"where the API listens ({LOOPBACK})")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="of the first server of a node (the engine's own)"
)
@click.option(
    "--executor",
    type=click.Choice(["mp", "ray"]),
    default="mp",
    help="ranks of other nodes: a process a node (mp), or a Ray cluster that runs (vLLM alone)",
)
@click.option(
    "--pods", type=click.Path(path_type=Path), help="beside --engine kubernetes: YAML file, how pods run"
)
@click.option("--start", is_flag=True, help="start it on this machine, and serve until interrupted")
@click.option("--check", is_flag=True, help="start it, hold what it realised against PLAN, and stop it")
@starting_options
@click.option("--json", "as_json", is_flag=True, help="print the launch, or its check, as JSON")
def command(
    plan: Path,
    engine: str | None,
    output: Path | None,
    host: str,
    port: int | None,
    executor: Executor,
    pods: Path | None,
    start: bool,
    check: bool,
    engine_path: Path | None,
    patience: float,
    logs: Path | None,
    as_json: bool,
) -> int:
    """The commands and files that start PLAN (plan.json, its folder, a deployment file) on an engine.

    A layout or a schedule that the engine cannot run is refused, with the nearest that it can. The API
    listens on this machine alone unless --host says otherwise; in pods, where a Service reaches it.

    With --check the launch is started here, ranks, experts and memory are read back from the engine, a few
    requests are sent, and it is stopped: exit status 1 when it is not what PLAN says. With --start alone it
    serves until it is interrupted.
    """
    podded = engine == KUBERNETES
    if pods is not None and not podded:
        raise InputError("--pods", str(pods), f"nothing but beside --engine {KUBERNETES}")
    if podded and host != LOOPBACK:
        raise InputError(
            "--host", host, f"nothing beside --engine {KUBERNETES}: `host` in --pods FILE says it"
        )
    if podded and (start or check):
        raise InputError("--engine", engine, "an engine of this machine beside --start and --check")
    made, runs_on = plan_at(plan, None if podded else engine)
    found = launch_of(made, runs_on, host=host, port=port, executor=executor)
    if podded:
        found = in_pods(found, made, runs_on, options_file(pods) if pods else KubernetesOptions())
    if output is not None:
        written = write_launch(found, made, output)
        click.echo(f"wrote {len(written)} files to {output}", err=True)
    if not (start or check):
        print_result(found, _draw, as_json=as_json)
        return 0
    if check:
        check_read_back(runs_on)
    with (
        progress() as told,
        running_here(
            made,
            found,
            told,
            environment=engine_environment(engine_path),
            patience_s=patience,
            logs=logs,
        ) as (running, seconds),
    ):
        if check:
            realised = checked(made, runs_on, running, seconds, told)
        else:
            _serve(running, seconds, told)
    print_result(realised, _draw_check, as_json=as_json)
    return 0 if realised.met else 1


def plan_at(path: Path, engine: str | None) -> tuple[Plan, Engine]:
    """A plan, and the engine that is named, or the plan's own."""
    named = engine_named(engine) if engine is not None else None
    made = from_anywhere(plan_in(path, named))
    return made, named or starter_of(made.deployment, parse_layout(made.pools[0].layout))


def plan_in(path: Path, engine: Engine | None) -> Plan:
    """The plan as it is written; of a deployment file the plan for the engine that is named."""
    if is_plan(path):
        return read_plan(path)
    return make_plan(deployment_from(path, {"engine": priced_as(engine) if engine else None}), best=False)


def from_anywhere(plan: Plan) -> Plan:
    """A model in a folder by its absolute path: scripts are started from other folders than this one."""
    deployment = plan.deployment
    name = deployment.model.name
    if not os.path.isdir(name):  # noqa: PTH112 - False, too, for names that no file can have
        return plan
    model = deployment.model.model_copy(update={"name": str(Path(name).resolve())})
    return plan.model_copy(update={"deployment": deployment.model_copy(update={"model": model})})


def _serve(running: Sequence[Running], seconds: float, told: Told) -> NoReturn:
    """Until an interrupt, or EngineFailedError when a process ends."""
    where = ", ".join(each.url for each in running if each.url is not None)
    click.echo(f"ready after {seconds:.0f} s, serves at {where}; Ctrl-C stops it", err=True)
    told("serves")
    while True:
        check_alive(running)
        time.sleep(WATCH_S)


def _draw(launch: Launch, console: "Console") -> None:
    from shardwright.report.terminal import print_launch  # noqa: PLC0415 - with rich, as print_result

    print_launch(launch, console)


def _draw_check(check: "Check", console: "Console") -> None:
    from shardwright.report.terminal import print_check  # noqa: PLC0415 - with rich, as print_result

    print_check(check, console)
