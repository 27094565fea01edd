"""A YAML or JSON file as plain values, with the line of every field for the messages."""

from pathlib import Path
from typing import Any

import yaml

from shardwright.errors import InputError

MAX_BYTES = 1_000_000


class YamlFile:
    """The values of one file, and where each stands. holds: what its messages call it.

    Raises InputError when the file is missing, is no YAML, is no mapping, repeats a key or uses aliases.
    """

    def __init__(self, path: Path, *, holds: str = "deployment") -> None:
        self.path, self.holds = path, holds
        try:
            with path.open("rb") as stream:
                raw = stream.read(MAX_BYTES + 1)
            text = raw.decode("utf-8")
        except OSError as error:
            raise InputError(self.holds, str(path), f"a readable file ({error.strerror})") from None
        except UnicodeDecodeError:
            raise InputError(self.holds, str(path), "a text file in UTF-8") from None
        if len(raw) > MAX_BYTES:
            raise InputError(self.holds, str(path), f"a file under {MAX_BYTES} bytes")
        try:
            self._refuse_aliases(text)
            root = yaml.compose(text, Loader=yaml.CSafeLoader)
            self.values: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", None) or "not YAML"
            raise InputError(self.holds, problem, "YAML or JSON", where=self._at(mark)) from None
        except (ValueError, RecursionError) as error:
            raise InputError(self.holds, str(error)[:80], "YAML or JSON", where=str(path)) from None
        if not isinstance(self.values, dict):
            raise InputError(self.holds, self.values, "a mapping of fields", where=str(path))
        self._lines: dict[str, int] = {}
        self._index(root, "")

    def where(self, field: str) -> str:
        """'file:line' of the field, or of the nearest one around it."""
        path = field
        while path:
            if path in self._lines:
                return f"{self.path}:{self._lines[path]}"
            path = path.rpartition(".")[0]
        return str(self.path)

    def _refuse_aliases(self, text: str) -> None:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise InputError(
                    self.holds,
                    f"*{event.anchor}",
                    "values without aliases",
                    where=self._at(event.start_mark),
                )

    def _index(self, node: yaml.Node | None, path: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            field = f"{path}.{name}" if path else name
            if name in seen:
                raise InputError(field, name, "each field once", where=self._at(key.start_mark))
            seen.add(name)
            self._lines[field] = key.start_mark.line + 1
            self._index(value, field)

    def _at(self, mark: Any) -> str:
        return f"{self.path}:{mark.line + 1}" if mark else str(self.path)
