"""A bench as a result: what was measured, and beside it what was predicted of the same load."""

from typing import Literal

from shardwright.cost.profile import profile_for
from shardwright.errors import InputError
from shardwright.launch.bench import Measured
from shardwright.launch.check import Check
from shardwright.layout.notation import parse_layout
from shardwright.plan.plan import Plan
from shardwright.record import Record
from shardwright.search.serve import simulate_layout
from shardwright.serving.simulation import Load, Simulation


class Bench(Record):
    """measured: by a client of the server. predicted: of the same load, by the plan's inputs; None for the
    reason in unpredicted.

    check: None where the server was not started here. command: of the client. row_id: of the row in `rows`.
    """

    schema_version: Literal[1] = 1
    name: str
    layout: str
    engine: str
    device: str
    url: str
    load: Load
    measured: Measured
    predicted: Simulation | None
    unpredicted: str
    check: Check | None
    command: tuple[str, ...]
    row_id: str
    rows: str


def prediction(plan: Plan, load: Load) -> tuple[Simulation | None, str]:
    """What a plan's inputs say of a load, or why they say nothing of the device that was measured."""
    deployment = plan.deployment
    if deployment.profile is None:
        device = deployment.cluster.device
        stands_in, distance = profile_for(device)
        if distance != "measured":
            return None, (
                f"no operator was measured on {device.name}, and the nearest profile is that of "
                f"{stands_in.device}. Measure this machine (shardwright calibrate --device), and plan with "
                "--profile."
            )
    try:
        return simulate_layout(deployment, parse_layout(plan.pools[0].layout), load), ""
    except InputError as error:
        return None, f"the load cannot be simulated: {error}"
