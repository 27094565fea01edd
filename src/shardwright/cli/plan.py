"""shardwright plan: from a deployment to its plan."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from shardwright.cli.inputs import deployment_from, deployment_options
from shardwright.cli.output import print_result
from shardwright.plan.deployment import Deployment
from shardwright.plan.file import read_plan, write_plan
from shardwright.plan.plan import Plan
from shardwright.plan.strategy import resolve_layout
from shardwright.search.search import plan_for, search

if TYPE_CHECKING:
    from rich.console import Console


@click.command("plan")
@click.argument("deployment", type=click.Path(path_type=Path), required=False)
@deployment_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="folder to write plan.json to")
@click.option("--best", is_flag=True, help="search, even where the deployment names a layout")
@click.option(
    "--compare", "old", type=click.Path(path_type=Path), help="an old plan.json, or its folder: what changed"
)
@click.option("--top", type=click.IntRange(0, 100), default=5, help="alternatives to show")
@click.option("--json", "as_json", is_flag=True, help="print the plan as JSON")
def command(
    deployment: Path | None,
    output: Path | None,
    best: bool,
    old: Path | None,
    top: int,
    as_json: bool,
    **options: Any,
) -> int:
    """The best split of DEPLOYMENT (a YAML or JSON file, or options) over its cluster, with its reasons.

    A deployment that names a layout is planned with that one; --best searches all the same. With --compare,
    what changed since the old plan, and which input changed it, stands behind the plan.
    """
    before = read_plan(old) if old is not None else None  # before the new one may take its place
    found = make_plan(deployment_from(deployment, options), best=best, num_alternatives=top)
    if output is not None:
        click.echo(f"wrote {write_plan(found, output)}", err=True)
    if before is None:
        print_result(found, _draw, as_json=as_json)
    else:
        _print_compared(before, found, as_json=as_json)
    return 0 if found.met else 1


def make_plan(deployment: Deployment, *, best: bool, num_alternatives: int = 5) -> Plan:
    """The plan of the layout that the deployment names, or of the best one."""
    if deployment.layout is None or best:
        return search(deployment, num_alternatives=num_alternatives)
    layout, how = resolve_layout(deployment, deployment.layout)
    return plan_for(deployment, layout, reason=f"as the deployment asks: {how}")


def _print_compared(old: Plan, new: Plan, *, as_json: bool) -> None:
    # Imported here: a plan without --compare need not pay for it.
    from shardwright.report.terminal import print_compared  # noqa: PLC0415
    from shardwright.search.compare import compare  # noqa: PLC0415
    from shardwright.search.comparison import ComparedPlan  # noqa: PLC0415

    both = ComparedPlan(plan=new, comparison=compare(old, new))
    print_result(both, print_compared, as_json=as_json)


def _draw(plan: Plan, console: "Console") -> None:
    from shardwright.report.terminal import print_plan  # noqa: PLC0415 - with rich, as print_result

    print_plan(plan, console)
