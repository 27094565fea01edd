"""shardwright calibrate: measured operators -> a profile of the device, with its errors on unseen shapes."""

from pathlib import Path

import click

from shardwright.calibrate.calibration import Calibration, Outcome, carry_profile, fit_profile
from shardwright.calibrate.tables import gpu_folders
from shardwright.cli.output import print_result
from shardwright.cluster.catalog import find_device
from shardwright.cost.profile import Profile, profile_for, profile_text
from shardwright.errors import InputError
from shardwright.plan.file import write_text
from shardwright.report.terminal import print_calibration


@click.command("calibrate")
@click.option(
    "--from",
    "tables",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="folder of measured operator tables: of one GPU, or of several",
)
@click.option("--gpu", multiple=True, help="only this device (catalog name); may be repeated")
@click.option("--carry", help="fit nothing: hold this device's shipped profile against the tables")
@click.option("--source", default="", help="what to record as the tables' source (their folder's name)")
@click.option("--date", default="", help="when they were measured, for the record")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="write one profile a device here")
@click.option("--json", "as_json", is_flag=True, help="print the outcome as JSON")
def command(
    tables: Path,
    gpu: tuple[str, ...],
    carry: str | None,
    source: str,
    date: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Fit a profile of each GPU that the tables in --from cover.

    Each law is scored on shapes that its fit never saw; plan uses a profile by --profile FILE.
    """
    wanted = {find_device(name, field="--gpu").name for name in gpu}
    folders = {folder: name for folder, name in gpu_folders(tables).items() if not wanted or name in wanted}
    outcomes: list[Outcome] = []
    for folder, name in folders.items():
        device = find_device(name)
        if carry is not None:
            outcomes += carry_profile(folder, device, shipped(carry))
            continue
        profile, found = fit_profile(
            folder,
            device,
            source=source or f"operator tables in {folder.name}",
            date=date,
            say=lambda text: click.echo(text, err=True),
        )
        if output is not None:
            written = write_text(output / f"{name}.json", profile_text(profile))
            click.echo(f"wrote {written}", err=True)
        outcomes += found
    print_result(Calibration(outcomes=tuple(outcomes)), print_calibration, as_json=as_json)


def shipped(name: str) -> Profile:
    """The shipped profile of a device. Raises InputError where it has none of its own."""
    profile, distance = profile_for(find_device(name, field="--carry"))
    if distance != "measured":
        raise InputError("--carry", name, f"a device with a profile of its own, as {profile.device} has")
    return profile
