"""Where what a verb found goes: a file, and stdout for people or for programs."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from shardwright.errors import InputError
from shardwright.plan.file import write_text
from shardwright.record import Record

if TYPE_CHECKING:
    from rich.console import Console

R = TypeVar("R", bound=Record)


def print_result(found: R, draw: Callable[[R, "Console"], None], *, as_json: bool) -> None:
    """Print it: as JSON, or as `draw` does, as wide as the terminal."""
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        from rich.console import Console  # noqa: PLC0415 - 30 ms that JSON need not pay

        draw(found, Console())


def check_writable(field: str, file: Path) -> None:
    """Raise InputError for a file that cannot be written: before the work whose result it is to hold."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            reason = "Is a directory" if file.is_dir() else ""
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise InputError(field, str(file), f"a place that can be written ({reason})")


def write_result(found: Record, file: Path) -> None:
    """Write it as JSON, whole or not at all, and say so."""
    written = write_text(file, found.model_dump_json(indent=2) + "\n")
    click.echo(f"wrote {written}", err=True)
