"""From text to the words of one engine's command: a line, a script, a docker run. Nothing is executed."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template

from shardwright.engine.commands.server import Server
from shardwright.errors import InputError

MAX_CHARACTERS = 50_000
_CONTINUED = re.compile(r"\\[ \t]*(#[^\n]*)?\r?\n")
"""A backslash at the end of a line; documents put blanks and a comment behind it."""
_HERE = re.compile(
    r"^[^\n#]*?\bcat\s+(?:>\s*(?P<to>\S+)\s*<<-?\s*|<<-?\s*)(?P<quote>['\"]?)(?P<end>\w+)(?P=quote)"
    r"(?:\s*>\s*(?P<file>\S+))?[^\n]*\n(?P<text>.*?)^[ \t]*(?P=end)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_OPERATORS = frozenset("();<>|&")
_INTERPRETER = re.compile(r"python[0-9.]*")
MOST_NESTED = 3
MOST_QUOTED_LINES = 100


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One command of a server: the words that start it, those behind them, and what surrounds it.

    files: texts that the script itself writes; folder: where other files are looked for.
    """

    server: Server
    entry: tuple[str, ...]
    words: tuple[str, ...]
    variables: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)
    folder: Path = Path()

    def file(self, flag: str, name: str) -> str:
        """The text of a configuration file. Raises InputError."""
        if name in self.files or name.removeprefix("./") in self.files:
            return self.files.get(name) or self.files[name.removeprefix("./")]
        path = self.folder / name
        try:
            if "\0" in name or not path.is_file():
                raise InputError(flag, name, "a readable file")
            with path.open(encoding="utf-8") as stream:
                return stream.read(MAX_CHARACTERS)
        except (OSError, ValueError) as error:
            raise InputError(flag, name, f"a readable text file ({error})") from None


def find_invocation(text: str, servers: tuple[Server, ...], folder: Path = Path()) -> Invocation:
    """The first engine command in `text`.

    Raises InputError where there is none, or a quote is left open.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError("command", f"{len(text)} characters", f"at most {MAX_CHARACTERS:,} characters")
    found = _find(text, servers, folder, {}, 0)
    if found is None:
        starts = ", ".join(" ".join(server.entries[0]) for server in servers)
        raise InputError("command", " ".join(text.split())[:80], f"a command that starts a server: {starts}")
    return found


def _find(
    text: str, servers: tuple[Server, ...], folder: Path, variables: dict[str, str], depth: int
) -> Invocation | None:
    text = _CONTINUED.sub(" ", text)
    written = {found["to"] or found["file"] or "": found["text"] for found in _HERE.finditer(text)}
    for words in _commands(_HERE.sub("", text)):
        variables = variables | _assigned(words, variables)
        filled = [_filled(word, variables) for word in words]
        files = {_filled(name, variables): body for name, body in written.items()}
        if (found := _invoked(filled, servers)) is not None:
            server, entry, at = found
            # In front of the command, and behind docker's -e and --env.
            named = {pair[1]: pair[2] for word in filled[:at] if (pair := _ASSIGNED.fullmatch(word))}
            return Invocation(
                server=server,
                entry=entry,
                words=tuple(filled[at:]),
                variables=variables | named,
                files=files,
                folder=folder,
            )
        for word in filled if depth < MOST_NESTED else ():
            if " " in word and (inner := _find(word, servers, folder, variables, depth + 1)):
                return replace(inner, files=files | inner.files)
    return None


def _assigned(words: list[str], variables: dict[str, str]) -> dict[str, str]:
    """The variables that a command sets first: exported or not, they hold for the lines after it."""
    found: dict[str, str] = {}
    for word in words:
        if pair := _ASSIGNED.fullmatch(word):
            found[pair[1]] = _filled(pair[2], variables | found)
        elif word not in ("export", "env"):
            break
    return found


def _filled(word: str, variables: dict[str, str]) -> str:
    """$NAME and ${NAME} of known variables filled in; the others stay."""
    text = Template(word).safe_substitute(variables)
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            "command", f"{word[:40]}...", f"variables that fill in to at most {MAX_CHARACTERS:,} characters"
        )
    return text


def _commands(text: str) -> Iterator[list[str]]:
    """The words of every simple command: of lines, and of what stands between operators."""
    for line in _joined(text):
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        words: list[str] = []
        is_file = False
        for word in reader:
            if set(word) <= _OPERATORS and word:
                is_file = word[0] in "<>"
                if is_file and words and words[-1].isdigit():  # 2> is a stream, no argument
                    words.pop()
                if not is_file:
                    yield words
                    words = []
            elif is_file:
                is_file = False
            else:
                words.append(word)
        yield words


def _joined(text: str) -> Iterator[str]:
    """Lines, those with an open quote joined to the next. Raises InputError where none closes it."""
    held: list[str] = []
    for line in text.splitlines():
        held.append(line)
        if _closes("\n".join(held)):
            yield "\n".join(held)
            held = []
        elif len(held) > MOST_QUOTED_LINES:
            break
    if held:
        raise InputError("command", held[0].strip()[:80], "quotes that close")


def _closes(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


def _invoked(words: list[str], servers: tuple[Server, ...]) -> tuple[Server, tuple[str, ...], int] | None:
    """The server that the words start, the words that do, and the place of its first argument."""
    for at, word in enumerate(words):
        for server in servers:
            if _is_image(word, server) and "run" in words[:at]:
                return server, server.entries[0], at + 1
            for entry in server.entries:
                behind = at + len(entry)
                if (Path(word).name, *words[at + 1 : behind]) != entry:
                    continue
                before = Path(words[at - 1]).name if at else ""
                if entry[0] != "-m":
                    return server, entry, behind
                if _INTERPRETER.fullmatch(before):
                    return server, (before, *entry), behind
    return None


def _is_image(word: str, server: Server) -> bool:
    """Whether a word of `docker run` is the container of a server: registry, tag and digest left aside."""
    name = re.sub(r"(:[\w.-]+)?(@[\w:]+)?$", "", word)
    return any(name == image or name.endswith(f"/{image}") for image in server.images)
