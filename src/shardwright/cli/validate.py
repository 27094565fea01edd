"""shardwright validate: measured rows predicted, and how far from what was measured."""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from shardwright.calibrate.measured.row import Row, read_rows
from shardwright.calibrate.measured.validation import Validation, predictions_csv, validate_rows
from shardwright.cli.compiled import say_if_slow
from shardwright.cli.output import print_result
from shardwright.cost.profile import Profile, profile_file
from shardwright.cost.software import ServingProfile, serving_file, shipped_serving
from shardwright.plan.file import write_text
from shardwright.report.terminal import print_validation


@click.command("validate")
@click.argument("measured", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="CSV file to write: a line each row")
@click.option(
    "--serving", type=click.Path(path_type=Path), help="file of `calibrate --from ROWS.csv -o` (the shipped)"
)
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    help="file of `calibrate --device -o`: of a GPU in the rows that the catalog lacks",
)
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(
    measured: Path, output: Path | None, serving: Path | None, profile: Path | None, as_json: bool
) -> None:
    """Predict every row of MEASURED (.csv or .csv.gz), and hold it against what was measured, if anything.

    OUT.csv has row_id, each figure with the ends of its 90 % interval, and status: ok, or why not.
    """
    rows = read_rows(measured)
    measured_serving = shipped_serving() if serving is None else serving_file(serving)
    own = None if profile is None else profile_file(profile)
    say_if_slow()
    found = _validated(rows, measured_serving, own)
    if output is not None:
        click.echo(f"wrote {write_text(output, predictions_csv(found.rows))}", err=True)
    print_result(found, print_validation, as_json=as_json)


def _validated(rows: tuple[Row, ...], serving: ServingProfile, own: Profile | None) -> Validation:
    """With what is done so far on stderr, where that is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("predicting", total=len(rows))
        return validate_rows(rows, serving, lambda cases: bar.advance(task, cases), own)
