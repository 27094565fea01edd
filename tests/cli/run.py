"""Runs the command line in this process, as a user would meet it."""

import contextlib
import io
from dataclasses import dataclass

from shardwright.cli.main import main


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str


def shardwright(*arguments: str) -> Outcome:
    """Exit status and both streams of `shardwright ARGUMENTS`; an exception that is no exit comes through."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as stop:
            status = stop.code
    assert isinstance(status, int)
    return Outcome(status, out.getvalue(), err.getvalue())
