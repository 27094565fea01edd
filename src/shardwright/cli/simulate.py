"""shardwright simulate: a plan under a load of requests, as its clients would see it."""

from pathlib import Path
from typing import Any

import click

from shardwright.cli.compiled import say_if_slow
from shardwright.cli.inputs import deployment_from, layout_for
from shardwright.cli.output import print_result
from shardwright.errors import InputError
from shardwright.plan.deployment import Deployment
from shardwright.record import validated
from shardwright.report.terminal import print_simulation
from shardwright.search.serve import simulate_layout
from shardwright.serving.requests import Lengths
from shardwright.serving.simulation import Load
from shardwright.workload.workload import REQUESTS_A_CLIENT

OPEN_REQUESTS = 1000
MOST_TOKENS = 10_000_000_000
"""Of all answers together: beyond, a simulation takes minutes."""


@click.command("simulate")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--layout", help="simulate this layout: canonical, or as people write it")
@click.option("--engine", help="of this engine instead (beside a deployment file)")
@click.option("--concurrency", type=click.IntRange(1, 10**5), help="closed loop: requests in flight")
@click.option("--rate", type=float, help="open loop: requests a second, whatever is in flight")
@click.option("--static", "static", type=click.IntRange(1, 10**5), help="one batch of so many requests")
@click.option("--requests", type=click.IntRange(1, 10**6), help="in all (10 a client; 1000 in an open loop)")
@click.option("--input-tokens", type=click.IntRange(1, 10**7), help="of a prompt (the deployment's)")
@click.option("--output-tokens", type=click.IntRange(1, 10**7), help="of an answer (the deployment's)")
@click.option(
    "--range-ratio",
    type=click.FloatRange(0, 1, min_open=True),
    help="lengths are drawn evenly from this share of them on (1: exact; else by the deployment's spread)",
)
@click.option(
    "--burstiness",
    type=click.FloatRange(0.01, 1000),
    default=1.0,
    help="of an open loop: 1 is Poisson, less comes in bursts",
)
@click.option("--seed", type=click.IntRange(0, 10**6), default=0, help="of lengths and arrivals (0)")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(plan: Path, layout: str | None, engine: str | None, as_json: bool, **how: Any) -> int:
    """Serve a load with PLAN (plan.json, its folder, a deployment file), step by step.

    Without --concurrency, --rate or --static, the deployment's batch is kept in flight.
    """
    deployment = deployment_from(plan, {"layout": layout, "engine": engine})
    load = _load(deployment, **how)
    tokens = load.num_requests * load.output_tokens.high
    if tokens > MOST_TOKENS:
        raise InputError("--requests", load.num_requests, f"at most {MOST_TOKENS:,} tokens of answers in all")
    say_if_slow()
    found = simulate_layout(deployment, layout_for(deployment), load)
    print_result(found, print_simulation, as_json=as_json)
    return 0 if found.met else 1


def _load(
    deployment: Deployment,
    *,
    concurrency: int | None,
    rate: float | None,
    static: int | None,
    requests: int | None,
    input_tokens: int | None,
    output_tokens: int | None,
    range_ratio: float | None,
    burstiness: float,
    seed: int,
) -> Load:
    """The load that the options state, of the deployment where they do not."""
    kinds = {"--concurrency": concurrency, "--rate": rate, "--static": static}
    stated = {flag: value for flag, value in kinds.items() if value is not None}
    if len(stated) > 1:
        flag, value = list(stated.items())[1]
        raise InputError(flag, value, f"nothing beside {next(iter(stated))}")
    if rate is None and burstiness != 1.0:
        raise InputError("--burstiness", burstiness, "nothing but beside --rate")
    if rate is not None and not 0 < rate < float("inf"):
        raise InputError("--rate", rate, "requests a second, more than 0")
    if static is not None and requests is not None:
        raise InputError("--requests", requests, "nothing beside --static, which says how many")
    workload = deployment.workload
    in_flight = concurrency or static or (None if rate is not None else workload.batch)
    usual = in_flight * REQUESTS_A_CLIENT if in_flight is not None else OPEN_REQUESTS
    lengths = {
        "input_tokens": input_tokens or workload.input_tokens,
        "output_tokens": output_tokens or workload.output_tokens,
    }
    values = {
        "kind": "open" if rate is not None else "static" if static is not None else "closed",
        "concurrency": in_flight,
        "rate_per_s": rate,
        "burstiness": burstiness,
        "num_requests": static or requests or usual,
        "seed": seed,
        **{name: _drawn(tokens, range_ratio, workload.spread) for name, tokens in lengths.items()},
    }
    return validated(Load, values, field="load")


def _drawn(tokens: int, ratio: float | None, spread: float) -> Lengths:
    """By the ratio, of which `tokens` are the most; else by the spread to either side of them."""
    if ratio is not None:
        return Lengths(low=max(1, int(tokens * ratio)), high=tokens)
    return Lengths.around(tokens, spread)
