"""shardwright calibrate: measured operators -> a profile of the device, with its errors on unseen shapes."""

from pathlib import Path

import click

from shardwright.calibrate.calibration import Calibration, Outcome, carry_profile, fit_profile
from shardwright.calibrate.tables import gpu_folders
from shardwright.cli.output import print_result
from shardwright.cli.own import MINUTES, calibrate_own
from shardwright.cli.serving import calibrate_serving
from shardwright.cluster.catalog import find_device
from shardwright.cost.profile import Profile, profile_file, profile_for, profile_text
from shardwright.errors import InputError
from shardwright.model.dtype import Dtype
from shardwright.plan.file import write_text
from shardwright.report.terminal import print_calibration


@click.command("calibrate")
@click.option(
    "--from",
    "tables",
    type=click.Path(path_type=Path, exists=True),
    help="folder of measured operator tables; or CSV file with measured rows of your own servers",
)
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    help="file of `calibrate --device -o`: of the GPU in your own rows, where the catalog lacks it",
)
@click.option("--gpu", multiple=True, help="only this device (catalog name); may be repeated")
@click.option("--carry", help="fit nothing: hold this device's shipped profile against the tables")
@click.option("--source", default="", help="what to record as the tables' source (their folder's name)")
@click.option("--date", default="", help="when they were measured, for the record")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="measure this machine instead of --from")
@click.option("--minutes", type=float, help=f"how long to measure ({MINUTES:g})")
@click.option("--processes", type=int, help="take part in collectives (one a GPU, or a core up to 4)")
@click.option(
    "--dtype", "dtypes", multiple=True, type=click.Choice(["bf16", "fp32"]), help="may be repeated (bf16)"
)
@click.option("--rows", type=click.Path(path_type=Path), help="write what was measured to this CSV file")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="write the profile to this file; with --from, one a device to this folder",
)
@click.option("--json", "as_json", is_flag=True, help="print the outcome as JSON")
def command(
    tables: Path | None,
    profile: Path | None,
    gpu: tuple[str, ...],
    carry: str | None,
    source: str,
    date: str,
    device: str | None,
    minutes: float | None,
    processes: int | None,
    dtypes: tuple[Dtype, ...],
    rows: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Fit a profile of each GPU that the tables in --from cover, or of this machine (--device).

    Each law is scored on shapes that its fit never saw; plan uses a profile by --profile FILE. Of a CSV file
    with three to ten rows of your own servers: what they add, scored on each row left out; plan uses that by
    --serving FILE.
    """
    if device is not None and profile is not None:
        raise InputError("--profile", str(profile), "nothing beside --device")
    for_tables = {"--gpu": gpu, "--carry": carry, "--source": source, "--date": date}
    for_machine = {"--minutes": minutes, "--processes": processes, "--dtype": dtypes, "--rows": rows}
    if (tables is None) == (device is None):
        raise InputError("--device", device, "either tables (--from DIR) or this machine (--device cpu)")
    beside, idle = ("--device", for_tables) if device else ("--from", for_machine)
    for flag, value in idle.items():
        if value:
            raise InputError(flag, value, f"nothing beside {beside}")
    if device is not None:
        calibrate_own(
            device,
            dtypes=tuple(dict.fromkeys(dtypes)) or ("bf16",),
            minutes=MINUTES if minutes is None else minutes,
            num_processes=processes,
            output=output,
            rows=rows,
            as_json=as_json,
        )
        return
    assert tables is not None
    if tables.is_file():
        for flag, value in for_tables.items():
            if value:
                raise InputError(flag, value, "nothing beside rows in a file")
        own = None if profile is None else profile_file(profile)
        calibrate_serving(tables, output, own, as_json=as_json)
        return
    if profile is not None:
        raise InputError("--profile", str(profile), "nothing but beside rows in a file")
    print_result(_fitted(tables, gpu, carry, source, date, output), print_calibration, as_json=as_json)


def _fitted(
    tables: Path, gpu: tuple[str, ...], carry: str | None, source: str, date: str, output: Path | None
) -> Calibration:
    """A profile a device to `output`, and what came of each law; or how well `carry` does."""
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
    return Calibration(outcomes=tuple(outcomes))


def shipped(name: str) -> Profile:
    """The shipped profile of a device. Raises InputError where it has none of its own."""
    profile, distance = profile_for(find_device(name, field="--carry"))
    if distance != "measured":
        raise InputError("--carry", name, f"a device with a profile of its own, as {profile.device} has")
    return profile
