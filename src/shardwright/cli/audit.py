"""shardwright audit: a strategy and its claims, or a command that runs today, held against the arithmetic."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from shardwright.audit.audit import audit
from shardwright.cli.commands import audit_of_command, command_in
from shardwright.cli.inputs import deployment_from, deployment_options
from shardwright.cli.output import print_result
from shardwright.errors import InputError
from shardwright.plan.file import write_text
from shardwright.report.markdown import audit_markdown, command_markdown
from shardwright.report.terminal import print_audit, print_command_audit


@click.command("audit")
@click.argument("subject", metavar="DEPLOYMENT|COMMAND", required=False)
@click.argument("beside", metavar="[DEPLOYMENT]", type=click.Path(path_type=Path), required=False)
@deployment_options
@click.option("-o", "--output", type=click.Path(path_type=Path), help="markdown file to write the report to")
@click.option("--json", "as_json", is_flag=True, help="print the audit as JSON")
def command(
    subject: str | None, beside: Path | None, output: Path | None, as_json: bool, **options: Any
) -> int:
    """A strategy and its claims, or a command that starts vLLM, SGLang or TensorRT-LLM.

    A deployment file: every reading of its strategy, every engine's verdict, every claim checked, and a
    readiness verdict; exit status 1 when it is not ready. A command, in quotes or in a file of any other
    ending: the layout that it makes, its memory and figures, its faults, and the change of flags that pays
    most; a deployment file behind it, or --gpu and --gpus, say where it runs. Exit status 1 when it does not
    run, or misses a target. No command is ever executed.
    """
    found_command = command_in(subject) if subject is not None else None
    if found_command is not None:
        running = audit_of_command(*found_command, beside, options)
        _write(output, lambda: command_markdown(running))
        print_result(running, print_command_audit, as_json=as_json)
        return 0 if running.sound else 1
    if beside is not None:
        raise InputError("deployment", str(beside), "one deployment file; a second one goes behind a command")
    path = Path(subject) if subject is not None else None
    gpus = options.pop("gpus") if path is not None else None
    layout = options.pop("layout")
    found = audit(deployment_from(path, options), layout=layout, gpus=gpus)
    _write(output, lambda: audit_markdown(found))
    print_result(found, print_audit, as_json=as_json)
    return 0 if found.verdict.level == "ready" else 1


def _write(output: Path | None, markdown: Callable[[], str]) -> None:
    if output is not None:
        click.echo(f"wrote {write_text(output, markdown())}", err=True)
