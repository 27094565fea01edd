"""shardwright bench: a plan's server measured under a load, the row kept, the prediction beside it."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from shardwright.cli.compiled import say_if_slow
from shardwright.cli.launch import plan_at
from shardwright.cli.load import SEEDS, load_of, load_options
from shardwright.cli.output import check_writable, print_result, write_result
from shardwright.cli.starting import engine_environment, progress, running_here, starting_options
from shardwright.engine.engine import Engine
from shardwright.errors import InputError
from shardwright.launch.bench import run_client
from shardwright.launch.check import Check
from shardwright.launch.client import served_model, version_of
from shardwright.launch.compare import Bench, prediction
from shardwright.launch.here import checked
from shardwright.launch.make import launch_of
from shardwright.launch.rows import append_row, check_rows, measured_row, settings_of
from shardwright.launch.start import Told, explaining
from shardwright.plan.plan import Plan
from shardwright.report.terminal import print_bench
from shardwright.serving.simulation import Load

ROWS_FILE = "measured.csv"
CLIENTS = ("vllm",)
"""Engines whose own client is used."""


@click.command("bench")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--engine", help="vllm or vllm@0.32 (the plan's)")
@click.option("--url", help="of a server that runs already: it is not started, nor checked (see `inspect`)")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="of the server that is started (the engine's own)"
)
@load_options
@click.option(
    "--seed",
    type=click.IntRange(0, SEEDS),
    help="of prompts and arrivals (drawn: a prefix cache would know the prompts of an earlier run)",
)
@starting_options
@click.option(
    "--rows", type=click.Path(path_type=Path), help=f"CSV file to add the row to ({ROWS_FILE} beside PLAN)"
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="write the result to this JSON file, too"
)
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(
    plan: Path,
    engine: str | None,
    url: str | None,
    port: int | None,
    engine_path: Path | None,
    patience: float,
    logs: Path | None,
    seed: int | None,
    rows: Path | None,
    output: Path | None,
    as_json: bool,
    **how: Any,
) -> int:
    """Start PLAN (plan.json, its folder, a deployment file), check it, measure it with the engine's client.

    Without --concurrency or --rate, the deployment's batch is kept in flight. The row is added to --rows,
    whose columns `validate` and `calibrate --from` read. Exit status 1 when the engine runs another layout
    than the plan's: then nothing is measured.
    """
    made, named = plan_at(plan, engine)
    if named.name not in CLIENTS:
        raise InputError(
            "--engine", named.id, f"an engine with a client of its own here: {', '.join(CLIENTS)}"
        )
    load = load_of(made.deployment, seed=random.randrange(SEEDS) if seed is None else seed, **how)
    if url is None:
        _check_served(load, made)
    environment = engine_environment(engine_path)
    kept = rows or (plan if plan.is_dir() else plan.parent) / ROWS_FILE
    check_writable("--rows", kept)
    check_rows(kept)
    if output is not None:
        check_writable("--output", output)
    say_if_slow()
    predicted, unpredicted = prediction(made, load)
    with progress() as told, _server(made, named, url, told, environment, port, patience, logs) as server:
        address, started_by, check = server
        if check is not None and not check.met:
            from shardwright.report.terminal import print_check  # noqa: PLC0415 - with rich, as print_result

            print_result(check, print_check, as_json=as_json)
            return 1
        told("measuring")
        date = datetime.now(UTC).isoformat(timespec="seconds")
        served, version = served_model(address), version_of(address)
        found, words = run_client(
            load, url=address, model=made.deployment.model.name, served=served, environment=environment
        )
    device = made.deployment.cluster.device.name
    cells = measured_row(
        made,
        named,
        load,
        found,
        date=date,
        engine_version=version or named.version,
        commands=(started_by, words),
        device=f"{device}, by the plan" if url else device,
    )
    append_row(kept, cells)
    bench = Bench(
        name=made.deployment.name,
        layout=made.pools[0].layout,
        engine=f"{named.title} {version or named.version}",
        device=device,
        url=address,
        load=load,
        measured=found,
        predicted=predicted,
        unpredicted=unpredicted,
        check=check,
        command=tuple(words),
        row_id=cells["row_id"],
        rows=str(kept),
    )
    if output is not None:
        write_result(bench, output)
    print_result(bench, print_bench, as_json=as_json)
    return 0


def _check_served(load: Load, plan: Plan) -> None:
    """Raise InputError for requests that the server of this plan refuses: before it is started."""
    longest = load.input_tokens.high + load.output_tokens.high
    limit = plan.deployment.workload.max_model_len
    if longest > limit:
        raise InputError(
            "--input-tokens, --output-tokens", longest, f"together at most max_model_len {limit}"
        )


@contextmanager
def _server(
    plan: Plan,
    engine: Engine,
    url: str | None,
    told: Told,
    environment: Mapping[str, str],
    port: int | None,
    patience: float,
    logs: Path | None,
) -> Iterator[tuple[str, tuple[str, ...], Check | None]]:
    """(address, the command that started it, its check): of one that runs, or of one that is started."""
    if url is not None:
        yield url.rstrip("/"), (), None
        return
    launch = launch_of(plan, engine, port=port)
    if len(launch.processes) > 1:
        raise InputError(
            "--url", None, f"a router's address: {len(launch.processes)} copies have a server each"
        )
    with running_here(plan, launch, told, environment=environment, patience_s=patience, logs=logs) as (
        running,
        seconds,
    ):
        check = checked(plan, engine, running, seconds, told)
        address = running[0].url
        assert address is not None
        with explaining(running):
            settings = settings_of({**environment, **launch.processes[0].environment})
            yield address, (*settings, *launch.processes[0].argv), check
