"""The words of a command, flag by flag: what each one sets, and what is not considered."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from shardwright.engine.commands.flag import Flag, Value, value_of
from shardwright.engine.commands.script import Invocation
from shardwright.engine.commands.server import Server, known
from shardwright.errors import InputError
from shardwright.record import Record

Why = Literal["not considered", "unknown", "gone", "no effect"]
"""The engine has it, and it changes nothing that is modelled; this version does not; not any more; its value
leaves the setting as it is."""


class Given(Record):
    """One flag as the command gives it. where: '' for the command itself, else a file or the environment.

    words: as they stand there, or as they would on a command line of its own.
    """

    flag: str
    value: str
    means: str
    sets: str
    where: str = ""
    source: str = ""
    words: tuple[str, ...] = ()


class Ignored(Record):
    """One flag or word that sets nothing. instead: what does the same in this version. words: as in Given."""

    flag: str
    value: str
    why: Why
    instead: str = ""
    where: str = ""
    words: tuple[str, ...] = ()


class Ambiguous(Record):
    """A shortened name that several flags begin with: the engine stops at it."""

    flag: str
    read_as: str
    could_be: tuple[str, ...]


@dataclass(frozen=True)
class Arguments:
    """What a command sets. The last of several values counts. files: the words that name its files."""

    settings: Mapping[str, Value]
    given: tuple[Given, ...]
    ignored: tuple[Ignored, ...]
    ambiguous: tuple[Ambiguous, ...]
    files: tuple[str, ...] = ()

    def stated(self, name: str) -> Given | None:
        """The flag that made a setting."""
        return next((row for row in reversed(self.given) if row.sets == name), None)


MODEL = "MODEL"
"""How a model without a flag is written."""


@dataclass(frozen=True)
class _Raw:
    """A flag before its value is read. name: in full; written: as it stands there; words: with its value."""

    name: str
    text: str | None
    written: str
    where: str = ""
    words: tuple[str, ...] = ()


def read_arguments(invocation: Invocation) -> Arguments:
    """Every flag of the command, of its configuration files and of the environment before it.

    Raises InputError for a value that the engine refuses, and for one that is not known here.
    """
    server = invocation.server
    ambiguous: list[Ambiguous] = []
    words = list(_split(invocation.words, server, ambiguous))
    variables = [_Raw(name, text, name, "environment") for name, text in invocation.variables.items()]
    from_files = [row for raw in words if raw.name in server.files for row in _file(raw, invocation)]
    ordered = [*words, *from_files] if server.file_wins else [*from_files, *words]
    table = {name: flag for flag in server.flags for name in flag.names}
    given: list[Given] = []
    ignored: list[Ignored] = []
    settings: dict[str, Value] = {}
    for raw in (row for whole in (*variables, *ordered) for row in _flat(whole, table)):
        if raw.name in server.files:
            continue
        flag = table.get(raw.name)
        value = None if flag is None else value_of(flag, raw.written, _text(flag, raw))
        if flag is not None and value is not None:
            settings[flag.sets] = value
            given.append(
                Given(
                    flag=raw.written,
                    value="" if raw.text is None else raw.text,
                    means=_means(flag, value),
                    sets=flag.sets,
                    where=raw.where,
                    source=flag.source,
                    words=raw.words,
                )
            )
        elif flag is not None or raw.name in server.gone or raw.where != "environment":
            ignored.append(_ignored(raw, flag, server))
    files = tuple(word for raw in words if raw.name in server.files for word in raw.words)
    return Arguments(settings, tuple(given), tuple(ignored), tuple(ambiguous), files)


def _split(words: tuple[str, ...], server: Server, ambiguous: list[Ambiguous]) -> Iterator[_Raw]:
    """Flags with their values. A word alone is the model, where the server takes it so."""
    full = known(server.engine)
    left = list(words)
    has_model = any(word.partition("=")[0] in ("--model", "--model-path") for word in words)
    while left:
        word = left.pop(0)
        if not _is_flag(word):
            name = "--model" if server.positional and not has_model else ""
            has_model = has_model or bool(name)
            yield _Raw(name, word, MODEL if name else "", words=(word,))
            continue
        written, equals, text = word.partition("=")
        name = _resolved(_plain(written, server), server, ambiguous, written)
        base = name.partition(".")[0]
        if server.negates and name.startswith("--no-") and f"--{name[5:]}" in full.switches:
            yield _Raw(f"--{name[5:]}", "false", written, words=(word,))
        elif equals:
            if base in full.switches and name == base:
                raise InputError(written, text, "no value: it is a switch")
            yield _Raw(name, text, written, words=(word,))
        elif name in full.switches:
            yield _Raw(name, None, written, words=(word,))
        elif not name.startswith("--") and name not in full.valued and name[:2] in full.valued:
            yield _Raw(name[:2], name[2:], name[:2], words=(word,))  # -O3 is -O 3
        elif left and not _is_flag(left[0]):
            yield _Raw(name, left[0], written, words=(word, left.pop(0)))
        elif name in full.valued or name in {alias for flag in server.flags for alias in flag.names}:
            raise InputError(written, None, "a value behind it")
        else:
            yield _Raw(name, None, written, words=(word,))


def _is_flag(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not re.fullmatch(r"-[0-9.]+", word)


def _plain(written: str, server: Server) -> str:
    """The name with dashes, up to the first dot, where the server takes underscores for dashes."""
    if not server.dashes or not written.startswith("--"):
        return written
    head, dot, rest = written.partition(".")
    return head.replace("_", "-") + dot + rest


def _resolved(name: str, server: Server, ambiguous: list[Ambiguous], written: str) -> str:
    """The flag that `name` begins, where that is enough for the server and `name` is none itself."""
    names = known(server.engine).names
    if not server.abbreviates or name in names or not name.startswith("--") or "." in name:
        return name
    begun = sorted(full for full in names if full.startswith(name))
    table = {alias: flag for flag in server.flags for alias in flag.names}
    meant = {table[full].sets: full for full in begun if full in table}
    if len(begun) > 1 and len(meant) == 1:
        read_as = next(iter(meant.values()))
        ambiguous.append(Ambiguous(flag=written, read_as=read_as, could_be=tuple(begun)))
        return read_as
    return begun[0] if len(begun) == 1 else name


def _file(raw: _Raw, invocation: Invocation) -> Iterator[_Raw]:
    """The lines of a YAML configuration file as flags of their names."""
    name = raw.text or ""
    text = invocation.file(raw.written, name)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.CSafeLoader)):
            raise InputError(raw.written, name, "a YAML file without aliases")
        values = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = getattr(error, "problem", None) or "no YAML"
        raise InputError(raw.written, name, f"a YAML file ({problem})") from None
    if not isinstance(values, dict):
        raise InputError(raw.written, name, "a YAML file of names and values")
    for key, value in values.items():
        full = _plain(f"--{key}", invocation.server)
        if invocation.server.negates and full.startswith("--no-"):
            full, value = f"--{full[5:]}", not value  # noqa: PLW2901 - a switch and its opposite
        yield from _inner(_Raw(full, None, str(key), name), value)


def _flat(raw: _Raw, table: Mapping[str, Flag]) -> Iterator[_Raw]:
    """A JSON value as the flags of its keys, where the table has some of them: --a '{"b": 1}' is --a.b 1."""
    nested = any(name.startswith(f"{raw.name}.") for name in table)
    if not nested or raw.text is None or not raw.text.strip().startswith("{"):
        yield raw
        return
    try:
        value = json.loads(raw.text)
    except (ValueError, RecursionError):
        raise InputError(raw.written, raw.text, "JSON") from None
    yield from _inner(raw, value)


def _inner(raw: _Raw, value: Any) -> Iterator[_Raw]:
    """A value of JSON or YAML as text, a mapping as one flag a key."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _inner(_Raw(f"{raw.name}.{key}", None, f"{raw.written}.{key}", raw.where), inner)
    elif value is not None:
        words = (raw.written, value if isinstance(value, str) else json.dumps(value, default=str))
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if isinstance(value, list):
            text = ",".join(map(str, value))
        yield _Raw(raw.name, text, raw.written, raw.where, words)


def _text(flag: Flag, raw: _Raw) -> str:
    if raw.text is None and flag.kind != "switch":
        raise InputError(raw.written, None, "a value behind it")
    if raw.text is not None and "$" in raw.text:
        raise InputError(raw.written, raw.text, "a value: the variable is not set in what was given")
    return raw.text if raw.text is not None else "true"


def _means(flag: Flag, value: Value) -> str:
    if flag.kind == "switch":
        return flag.means if value else f"not: {flag.means}"
    return f"{flag.means} {value}" if flag.kind != "layers" else f"{flag.means} {list(value)}"  # type: ignore[arg-type]


def _ignored(raw: _Raw, flag: Flag | None, server: Server) -> Ignored:
    instead = server.gone.get(raw.name, "")
    why: Why = "not considered"
    if instead:
        why = "gone"
    elif flag is not None:
        why = "no effect"
    elif not raw.where and raw.name and raw.name.partition(".")[0] not in known(server.engine).names:
        why = "unknown"
    return Ignored(
        flag=raw.written, value=raw.text or "", why=why, instead=instead, where=raw.where, words=raw.words
    )
