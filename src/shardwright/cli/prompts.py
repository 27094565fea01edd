"""Prompts as a command line gives them: texts, a file of them, or token ids."""

import re
from pathlib import Path

from shardwright.errors import InputError

IDS = re.compile(r"\s*[0-9]{1,9}\s*(,\s*[0-9]{1,9}\s*)*", re.ASCII)


def read_prompts(file: Path) -> list[str]:
    """A prompt a line. Raises InputError for a file that is not UTF-8 text, or has a line without any."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError("--prompts", str(file), f"a readable file ({error.strerror})") from error
    except UnicodeDecodeError as error:
        allowed = f"a file of UTF-8 text (byte {error.start} is not)"
        raise InputError("--prompts", str(file), allowed) from error
    lines = text.removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise InputError("--prompts", line, "a prompt a line", where=f"{file}:{number}")
    return lines


def parse_ids(text: str) -> list[int]:
    """Token ids.

    >>> parse_ids("1, 2,3")
    [1, 2, 3]
    """
    if not IDS.fullmatch(text):
        raise InputError("--prompt-ids", text, "token ids, such as '1,2,3'")
    return [int(number) for number in text.split(",")]
