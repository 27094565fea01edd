"""shardwright calibrate --from ROWS.csv: a serving profile from rows of one's own."""

from pathlib import Path

import click

from shardwright.calibrate.measured.own import calibrate_rows
from shardwright.calibrate.measured.row import read_rows
from shardwright.cli.compiled import say_if_slow
from shardwright.cli.output import print_result
from shardwright.cost.profile import Profile
from shardwright.cost.software import serving_text, shipped_serving
from shardwright.plan.file import write_text
from shardwright.report.terminal import print_own_serving


def calibrate_serving(file: Path, output: Path | None, own: Profile | None, *, as_json: bool) -> None:
    """Fit to the rows of the file; write the profile, print its errors. own: of a GPU of one's own.

    Raises InputError.
    """
    rows = read_rows(file)
    say_if_slow()
    found = calibrate_rows(rows, shipped_serving(), say=lambda text: click.echo(text, err=True), own=own)
    if output is not None:
        click.echo(f"wrote {write_text(output, serving_text(found.profile))}", err=True)
        click.echo(f"plan with it: shardwright plan ... --serving {output}", err=True)
    print_result(found, print_own_serving, as_json=as_json)
