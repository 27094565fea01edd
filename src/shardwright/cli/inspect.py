"""shardwright inspect: a running server, and how it stands to a plan."""

from pathlib import Path

import click

from shardwright.cli.output import print_result
from shardwright.launch.inspect.audit import with_plan
from shardwright.launch.inspect.read import inspect
from shardwright.plan.file import read_plan
from shardwright.report.terminal import print_inspection


@click.command("inspect")
@click.argument("url")
@click.option("--plan", type=click.Path(path_type=Path), help="plan.json, or its folder, to hold it against")
@click.option(
    "--over",
    "over_s",
    type=click.FloatRange(0, 3600),
    default=0.0,
    help="seconds between two readings: rates, and latencies of that time alone (0: since the start)",
)
@click.option(
    "--timeout", "limit_s", type=click.FloatRange(0.1, 600), default=10.0, help="seconds of each request (10)"
)
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(url: str, plan: Path | None, over_s: float, limit_s: float, as_json: bool) -> int:
    """What the server of vLLM, SGLang or TensorRT-LLM at URL says of itself, and what it measured.

    It is only read: no request for tokens is sent. Exit status 1 where it differs from --plan.
    """
    planned = read_plan(plan) if plan is not None else None  # first: no wait for a plan that is none
    if over_s:
        click.echo(f"reading twice, {over_s:g} s apart", err=True)
    found = inspect(url, over_s=over_s, limit_s=limit_s)
    if planned is not None:
        found = with_plan(found, planned)
    print_result(found, print_inspection, as_json=as_json)
    return 0 if found.audit is None or found.audit.agrees else 1
