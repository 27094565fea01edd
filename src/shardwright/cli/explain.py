"""shardwright explain: why this layout, why not that one, what binds, what would cure it."""

from pathlib import Path
from typing import Any

import click

from shardwright.cli.inputs import deployment_from, deployment_options
from shardwright.cli.output import print_result
from shardwright.plan.strategy import resolve_layout
from shardwright.report.terminal import print_explanation
from shardwright.search.explain import explain


@click.command("explain")
@click.argument("plan", type=click.Path(path_type=Path), required=False)
@deployment_options
@click.option("--json", "as_json", is_flag=True, help="print the explanation as JSON")
def command(plan: Path | None, as_json: bool, **options: Any) -> int:
    """Why the layout of PLAN (plan.json, its folder, or a deployment file), or of --layout.

    Exit status 1 when the layout is illegal, does not fit or misses a target.
    """
    deployment = deployment_from(plan, options)
    layout = None if deployment.layout is None else resolve_layout(deployment, deployment.layout)[0]
    found = explain(deployment, layout)
    print_result(found, print_explanation, as_json=as_json)
    return 0 if found.sound else 1
