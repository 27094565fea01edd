"""One flag of a server: its names, the value that it takes, and the setting that it makes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shardwright.errors import InputError

Kind = Literal["text", "switch", "count", "number", "tokens", "fraction", "layers", "choice", "one"]
"""tokens: a count that may be written 8k or 8K, or be left to the engine. number: a count or 0. layers:
counts, one a stage. one: a degree that only 1 is modelled of."""

Value = str | int | float | bool | tuple[int, ...]

LARGEST = 10_000_000
SUFFIXES = {"k": 10**3, "m": 10**6, "K": 2**10, "M": 2**20}
"""vLLM 0.33.0, vllm/utils/argparse_utils.py, human_readable_int; SGLang 0.5.23 takes the same."""
TO_THE_ENGINE = ("auto", "-1")
"""Left to the engine: vLLM 0.33.0, human_readable_int_or_auto; SGLang's -1 switches chunks off."""

YES, NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


@dataclass(frozen=True, kw_only=True)
class Flag:
    """A row of a server's table.

    names: as written, the first one is shown. sets: the setting. means: what it sets, in words.
    choices: text -> what it stands for. others: texts that the engine takes and that change nothing that is
    modelled. A flag of a configuration file alone, or a variable of the environment, is named like one.
    """

    names: tuple[str, ...]
    sets: str
    means: str
    source: str
    kind: Kind = "count"
    choices: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()


def value_of(flag: Flag, name: str, text: str) -> Value | None:
    """The value that `text` gives the flag, None where it leaves the setting as it is.

    name: as it stands in the command, for the message. Raises InputError.
    """
    match flag.kind:
        case "text":
            return text or _refuse(name, text, "a name or a path")
        case "switch":
            return text.lower() in YES or (text.lower() not in NO and _refuse(name, text, "true or false"))
        case "count" | "number":
            return _count(name, text, least=1 if flag.kind == "count" else 0)
        case "tokens":
            return None if text in TO_THE_ENGINE else _tokens(name, text)
        case "fraction":
            return _fraction(name, text)
        case "layers":
            return tuple(_count(name, part, least=1) for part in text.split(","))
        case "choice":
            return _choice(flag, name, text)
        case "one":
            if text != "1":
                raise InputError(name, text, f"1: {flag.means} is not modelled")
            return None


def _count(name: str, text: str, *, least: int) -> int:
    if not re.fullmatch("[0-9]{1,8}", text) or not least <= int(text) <= LARGEST:
        raise InputError(name, text, f"a whole number from {least} to {LARGEST:,}")
    return int(text)


def _tokens(name: str, text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,8})(\.[0-9]{1,6})?([kmKM]?)", text)
    if match is None or (match[2] and match[3] not in ("k", "m")):
        raise InputError(name, text, "a whole number of tokens, such as 8192, 8k or 8K")
    return _count(name, str(int(float(match[1] + (match[2] or "")) * SUFFIXES.get(match[3], 1))), least=1)


def _fraction(name: str, text: str) -> float:
    if not re.fullmatch(r"[0-9]{0,3}\.?[0-9]{1,12}", text) or not 0 < float(text) <= 1:
        raise InputError(name, text, "a fraction above 0 and up to 1")
    return float(text)


def _choice(flag: Flag, name: str, text: str) -> str | None:
    if text in flag.others:
        return None
    if text not in flag.choices:
        raise InputError(name, text, f"one of {', '.join((*flag.choices, *flag.others))}")
    return flag.choices[text]


def _refuse(name: str, text: str, allowed: str) -> bool:
    raise InputError(name, text, allowed)
