"""shardwright audit: a strategy and its claims, held against the arithmetic."""

from pathlib import Path
from typing import Any

import click

from shardwright.audit.audit import audit
from shardwright.cli.inputs import deployment_from, deployment_options
from shardwright.cli.output import print_result
from shardwright.plan.file import write_text
from shardwright.report.markdown import audit_markdown
from shardwright.report.terminal import print_audit


@click.command("audit")
@click.argument("deployment", type=click.Path(path_type=Path), required=False)
@deployment_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="markdown file to write the report to")
@click.option("--json", "as_json", is_flag=True, help="print the audit as JSON")
def command(deployment: Path | None, output: Path | None, as_json: bool, **options: Any) -> int:
    """Every reading of a strategy, every engine's verdict, every claim checked, and a readiness verdict.

    Exit status 1 when the deployment is not ready.
    """
    gpus = options.pop("gpus") if deployment is not None else None
    layout = options.pop("layout")
    found = audit(deployment_from(deployment, options), layout=layout, gpus=gpus)
    if output is not None:
        click.echo(f"wrote {write_text(output, audit_markdown(found))}", err=True)
    print_result(found, print_audit, as_json=as_json)
    return 0 if found.verdict.level == "ready" else 1
