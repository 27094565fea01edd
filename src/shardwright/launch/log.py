"""What an engine prints, for people: its last words when it fails, a line of progress while it starts."""

import re
from collections.abc import Sequence

LINES = 12
WIDTH = 300
"""Of a line that is shown: a longer one is cut."""

PROGRESS_WIDTH = 90

STAMP = re.compile(r"^(?:\([^)]*\)\s)?(?:(?P<level>[A-Z]+) \d\d-\d\d \d\d:\d\d:\d\d \[[^\]]*\] ?)?")
"""'(APIServer pid=910) INFO 11-28 18:09:44 [api_utils.py:347] '."""

RAISED = re.compile(r"(?:[\w.]+\.)?\w*(?:Error|Exception)\b\s*: \S")
"""The last line of a Python traceback."""

TRACED = re.compile(r"Traceback \(|\s|$")
"""The other lines of one: its head, and its frames, which are indented."""

NOISE = re.compile(r"resource_tracker|Route: ")


def last_words(text: str, count: int = LINES) -> str:
    """Its last lines, and before them what it complained of first, and what it raised first, where these are
    not among them: the rest is their wake. Of a traceback only the exception is shown."""
    lines = [line for line in text.split("\n") if not NOISE.search(line) and not _traced(line)]
    if not lines:
        return "  (it printed nothing)"
    told = list(dict.fromkeys(line for find in (_complaint, _raised) if (line := find(lines)) is not None))
    first, last = [line for line in told if line not in lines[-count:]], lines[-count:]
    shown = [*first, *(["..."] if first else []), *last]
    return "\n".join(f"  {_shown(line)}" for line in shown)


def line_of_progress(text: str) -> str:
    """The last thing that it said, without its stamp."""
    for line in reversed(text.split("\n")[-50:]):
        said = STAMP.sub("", line, count=1).strip()
        if said and not NOISE.search(line):
            return _shown(said)[:PROGRESS_WIDTH]
    return "starting"


def _complaint(lines: Sequence[str]) -> str | None:
    """The first line of level ERROR."""
    levels = ((stamp["level"], line) for line in lines if (stamp := STAMP.match(line)))
    return next((line for level, line in levels if level in ("ERROR", "CRITICAL")), None)


def _traced(line: str) -> bool:
    return bool(TRACED.match(STAMP.sub("", line, count=1)))


def _raised(lines: Sequence[str]) -> str | None:
    """The first exception that is named."""
    return next((line for line in lines if RAISED.match(STAMP.sub("", line, count=1))), None)


def _shown(line: str) -> str:
    """What a terminal would show of it: no escape sequences, the last of what was written over itself."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line.rstrip()).rsplit("\r", 1)[-1]
    plain = "".join(character if character.isprintable() else " " for character in plain)
    return plain if len(plain) <= WIDTH else plain[: WIDTH - 3] + "..."
