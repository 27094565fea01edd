"""shardwright calibrate --device: the operators of this machine, measured and fitted."""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from shardwright.calibrate.calibration import Calibration
from shardwright.calibrate.listing import rows_text
from shardwright.calibrate.own import own_profile
from shardwright.cli.output import print_result
from shardwright.cluster.catalog import find_device
from shardwright.cost.profile import Profile, profile_text
from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.model.dtype import Dtype
from shardwright.plan.file import write_text
from shardwright.report.terminal import print_calibration

MINUTES = 4.0
LONGEST_MINUTES = 24 * 60.0


def calibrate_own(
    device: str,
    *,
    dtypes: Sequence[Dtype],
    minutes: float,
    num_processes: int | None,
    output: Path | None,
    rows: Path | None,
    as_json: bool,
) -> None:
    """Measure and fit; write the profile and, where asked for, its rows; print, and how to plan with it.

    Raises InputError for a time or a number of processes out of bounds; EnvironmentLacksError without torch
    or the device.
    """
    if not 0 < minutes <= LONGEST_MINUTES:
        raise InputError("--minutes", minutes, f"more than 0, at most {LONGEST_MINUTES:g}")
    if num_processes is not None and num_processes < 1:
        raise InputError("--processes", num_processes, "a whole number from 1")
    try:
        import scipy.optimize  # noqa: F401, PLC0415 - before minutes of measuring, not after

        from shardwright.run.measure.whole import measure_machine  # noqa: PLC0415 - torch takes seconds
    except ImportError as error:
        needs = (
            f"calibrate --device needs torch and scipy: pip install 'shardwright[run,calibrate]' ({error})"
        )
        raise EnvironmentLacksError(needs) from None
    with _shown(60 * minutes) as told:
        measured = measure_machine(
            device, dtypes=dtypes, minutes=minutes, num_processes=num_processes, told=told
        )
        profile, outcomes = own_profile(measured, say=lambda text: told(text, 1.0))
    for path, text in ((output, profile_text(profile)), (rows, rows_text(measured))):
        if path is not None:
            click.echo(f"wrote {write_text(path, text)}", err=True)
    print_result(Calibration(outcomes=outcomes), print_calibration, as_json=as_json)
    if output is not None:
        click.echo(f"plan with it: {planning(profile, output)}", err=True)


def planning(profile: Profile, file: Path) -> str:
    """The command that plans with a profile in a file, for as many GPUs as a node has.

    A device of one's own is for any engine: which ones run on it is not known.
    """
    own = profile.hardware is not None
    num_gpus = find_device(profile.device, own=profile.gpu).node_gpus
    words = ["shardwright", "plan", "--model", "MODEL", "--gpu", profile.device, "--gpus", str(num_gpus)]
    return shlex.join([*words, *(["--engine", "any"] if own else []), "--profile", str(file)])


@contextmanager
def _shown(total_s: float) -> Iterator[Callable[[str, float], None]]:
    """What is measured now, and how much of the time has gone; on stderr, where that is a terminal."""
    console, began = Console(stderr=True), time.monotonic()
    with Progress(
        console=console, auto_refresh=False, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=total_s)

        def told(what: str, share: float) -> None:
            spent = min(time.monotonic() - began, total_s)
            bar.update(task, description=f"{what}, {share:.0%}", completed=spent, refresh=True)

        yield told
