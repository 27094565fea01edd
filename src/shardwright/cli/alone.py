"""`shardwright prove PLAN --rank R`: one rank of a plan, executed alone on this machine."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from shardwright.cli.inputs import deployment_from, layout_for
from shardwright.cli.output import print_result, write_result
from shardwright.cli.runtime import needs_runtime
from shardwright.errors import InputError
from shardwright.plan.alone import Kernels
from shardwright.report.alone import print_rank
from shardwright.steps.operation import Phase

PHASES: tuple[Phase, ...] = ("prefill", "decode")


def measure_rank(
    plan: Path | None,
    layout: str | None,
    *,
    rank: int,
    device: str = "cpu",
    phases: Sequence[Phase] = PHASES,
    repetitions: int = 5,
    warm_ups: int = 2,
    seed: int = 0,
    kernels: Kernels | None = None,
    output: Path | None = None,
    as_json: bool = False,
) -> int:
    """Measure rank `rank` of the layout of PLAN, or of `layout` beside it; print it, and give exit status 0.

    kernels: fused on a GPU and eager on a CPU where none are named. output: a folder for rank-R.json.
    Raises InputError for a layout without a plan (it has no model and no load) and for all that
    measure_alone refuses, EnvironmentLacksError without torch, device or room.
    """
    if plan is None:
        raise InputError("--rank", rank, "a PLAN or deployment file beside it: a layout alone has no model")
    deployment = deployment_from(plan, {"layout": layout})
    split = layout_for(deployment)
    with needs_runtime("prove --rank"):
        from shardwright.run.alone import measure  # noqa: PLC0415 - torch takes seconds to import
    console = Console(stderr=True)
    with console.status(f"rank {rank}") as status:
        measured = measure.measure_alone(
            deployment,
            split,
            rank,
            device,
            phases=phases,
            kernels=kernels,
            rounds=measure.Rounds(warm_ups=warm_ups, repetitions=repetitions, seed=seed),
            progress=lambda doing: status.update(f"rank {rank}: {doing}"),
        )
    if output is not None:
        write_result(measured, output / f"rank-{rank}.json")
    print_result(measured, print_rank, as_json=as_json)
    return 0
