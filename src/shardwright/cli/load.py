"""A load of requests on the command line: what `simulate` and `bench` share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from shardwright.errors import InputError
from shardwright.plan.deployment import Deployment
from shardwright.record import validated
from shardwright.serving.requests import Lengths
from shardwright.serving.simulation import Load
from shardwright.workload.workload import REQUESTS_A_CLIENT

F = TypeVar("F", bound=Callable[..., Any])

OPEN_REQUESTS = 1000

OPTIONS = (
    click.option("--concurrency", type=click.IntRange(1, 10**5), help="closed loop: requests in flight"),
    click.option("--rate", type=float, help="open loop: requests a second, whatever is in flight"),
    click.option(
        "--requests", type=click.IntRange(1, 10**6), help="in all (10 a client; 1000 in an open loop)"
    ),
    click.option("--input-tokens", type=click.IntRange(1, 10**7), help="of a prompt (the deployment's)"),
    click.option("--output-tokens", type=click.IntRange(1, 10**7), help="of an answer (the deployment's)"),
    click.option(
        "--burstiness",
        type=click.FloatRange(0.01, 1000),
        default=1.0,
        help="of an open loop: 1 is Poisson, less comes in bursts",
    ),
)
SEEDS = 10**6


def load_options(function: F) -> F:
    """The options of a closed or an open loop."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def load_of(
    deployment: Deployment,
    *,
    concurrency: int | None,
    rate: float | None,
    requests: int | None,
    input_tokens: int | None,
    output_tokens: int | None,
    burstiness: float,
    seed: int,
    static: int | None = None,
    range_ratio: float | None = None,
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
