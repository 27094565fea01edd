"""A report as the terminal shows it, as text."""

import io
from typing import Literal

from rich.console import Console

from shardwright.report.document import Document
from shardwright.report.terminal import print_document


def drawn(document: Document, *, width: int = 80, colour: bool = False) -> str:
    """What a console of `width` shows; `colour` as on a tty, else as in a pipe."""
    stream = io.StringIO()
    system: Literal["auto", "truecolor"] = "truecolor" if colour else "auto"
    print_document(document, Console(file=stream, width=width, force_terminal=colour, color_system=system))
    return stream.getvalue()
