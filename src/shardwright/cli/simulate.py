"""shardwright simulate: a plan under a load of requests, as its clients would see it."""

from pathlib import Path
from typing import Any

import click

from shardwright.cli.compiled import say_if_slow
from shardwright.cli.inputs import deployment_from, layout_for
from shardwright.cli.load import SEEDS, load_of, load_options
from shardwright.cli.output import print_result
from shardwright.errors import InputError
from shardwright.report.terminal import print_simulation
from shardwright.search.serve import simulate_layout

MOST_TOKENS = 10_000_000_000
"""Of all answers together: beyond, a simulation takes minutes."""


@click.command("simulate")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--layout", help="simulate this layout: canonical, or as people write it")
@click.option("--engine", help="of this engine instead (beside a deployment file)")
@load_options
@click.option("--seed", type=click.IntRange(0, SEEDS), default=0, help="of lengths and arrivals (0)")
@click.option("--static", "static", type=click.IntRange(1, 10**5), help="one batch of so many requests")
@click.option(
    "--range-ratio",
    type=click.FloatRange(0, 1, min_open=True),
    help="lengths are drawn evenly from this share of them on (1: exact; else by the deployment's spread)",
)
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(plan: Path, layout: str | None, engine: str | None, as_json: bool, **how: Any) -> int:
    """Serve a load with PLAN (plan.json, its folder, a deployment file), step by step.

    Without --concurrency, --rate or --static, the deployment's batch is kept in flight.
    """
    deployment = deployment_from(plan, {"layout": layout, "engine": engine})
    load = load_of(deployment, **how)
    tokens = load.num_requests * load.output_tokens.high
    if tokens > MOST_TOKENS:
        raise InputError("--requests", load.num_requests, f"at most {MOST_TOKENS:,} tokens of answers in all")
    say_if_slow()
    found = simulate_layout(deployment, layout_for(deployment), load)
    print_result(found, print_simulation, as_json=as_json)
    return 0 if found.met else 1
