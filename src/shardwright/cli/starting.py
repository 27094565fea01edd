"""Starting a launch on this machine: what `launch --start`, `launch --check` and `bench` share."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape

from shardwright.launch.check import needed_bytes
from shardwright.launch.launch import Launch
from shardwright.launch.needs import check_devices, check_memory, check_startable
from shardwright.launch.processes import available_bytes
from shardwright.launch.start import Running, Told, started, wait_ready
from shardwright.plan.plan import Plan

F = TypeVar("F", bound=Callable[..., Any])

PATIENCE_S = 1800.0
"""A large checkpoint is read, compiled and warmed up for many minutes."""

OPTIONS = (
    click.option(
        "--engine-path",
        envvar="SHARDWRIGHT_ENGINE_PATH",
        type=click.Path(path_type=Path),
        help="folder with the engine's programs (those on the PATH)",
    ),
    click.option(
        "--patience",
        type=click.FloatRange(1, 86400),
        default=PATIENCE_S,
        help=f"seconds that a start may take ({PATIENCE_S:g})",
    ),
    click.option(
        "--logs", type=click.Path(path_type=Path), help="keep what the engine prints in this folder"
    ),
)


def starting_options(function: F) -> F:
    """The options of a start."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def engine_environment(engine_path: Path | None) -> dict[str, str]:
    """Ours, the engine's programs before all others."""
    if engine_path is None:
        return dict(os.environ)
    folder = str(engine_path.absolute())
    return {**os.environ, "PATH": os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])}


@contextmanager
def progress() -> Iterator[Told]:
    """What goes on, on stderr, where that is a terminal."""
    with Console(stderr=True).status("starting") as status:
        yield lambda line: status.update(escape(line))


@contextmanager
def running_here(
    plan: Plan,
    launch: Launch,
    told: Told,
    *,
    environment: Mapping[str, str],
    patience_s: float,
    logs: Path | None,
) -> Iterator[tuple[tuple[Running, ...], float]]:
    """All processes, ready, and in how many seconds they were; ended with the block.

    Raises EnvironmentLacksError, InputError, EngineFailedError.
    """
    check_startable(launch)
    if check_devices(plan, launch.num_gpus):
        check_memory(needed_bytes(plan, launch.num_gpus), available_bytes())
    with (
        tempfile.TemporaryDirectory(prefix="shardwright-") as scratch,
        started(launch.processes, logs or Path(scratch), environment) as running,
    ):
        seconds = wait_ready(running, launch.health, patience_s, told)
        yield running, seconds
