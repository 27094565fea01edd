"""A JSON object of someone else's making: read strictly, its values taken out one checked field at a time."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

from shardwright.errors import InputError

T = TypeVar("T")

LARGEST_COUNT = 10_000_000
"""The largest count that a Record accepts (`Count` in record.py)."""


@dataclass(frozen=True)
class Fields:
    """The fields of one JSON object. `prefix` is the path to it, `where` the file that holds it.

    Every method that takes a field out raises InputError when the value is absent or of the wrong kind.
    """

    values: Mapping[str, object]
    where: str = ""
    prefix: str = ""

    def refuse(self, key: str, allowed: str) -> NoReturn:
        """Raise InputError for field `key`."""
        raise InputError(self.prefix + key, self.values.get(key), allowed, where=self.where)

    def count(self, key: str, *, least: int = 1, most: int = LARGEST_COUNT) -> int:
        """A whole number in [least, most]; true and 1.0 are not whole numbers."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.refuse(key, f"a whole number from {least} to {most}")
        return value

    def count_or_none(self, key: str) -> int | None:
        """A whole number from 1, or None where the field is null or absent."""
        return None if self.values.get(key) is None else self.count(key)

    def count_alike(self, key: str, *, least: int = 1, most: int = LARGEST_COUNT) -> int:
        """A whole number in [least, most], or a list that holds it once a layer (Hunyuan)."""
        value = self.values.get(key)
        if isinstance(value, list) and value and all(item == value[0] for item in value):
            value = value[0]
        return Fields({key: value}, self.where, self.prefix).count(key, least=least, most=most)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts of up to 200 characters; null or absent is the empty list."""
        value = self.values.get(key)
        items = [] if value is None else value
        if not isinstance(items, list) or not all(
            isinstance(item, str) and 1 <= len(item) <= 200 for item in items
        ):
            self.refuse(key, "a list of names or patterns, each of 1 to 200 characters")
        return tuple(items)

    def flag(self, key: str) -> bool:
        """true or false; absent is false."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            self.refuse(key, "true or false")
        return value

    def one_of(self, key: str, table: Mapping[str, T]) -> T:
        """What `table` holds for the field's text."""
        value = self.values.get(key)
        if not isinstance(value, str) or value not in table:
            self.refuse(key, f"one of {', '.join(table)}")
        return table[value]

    def layers(self, key: str, num_layers: int) -> frozenset[int]:
        """A list of layer indices in [0, num_layers); null or absent is the empty list."""
        value = self.values.get(key)
        indices = [] if value is None else value
        if not isinstance(indices, list) or not all(
            isinstance(index, int) and not isinstance(index, bool) and 0 <= index < num_layers
            for index in indices
        ):
            self.refuse(key, f"a list of layer indices from 0 to {num_layers - 1}")
        return frozenset(indices)

    def section(self, key: str) -> "Fields":
        """The object that field `key` holds."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            self.refuse(key, "an object")
        return Fields(value, self.where, f"{self.prefix}{key}.")

    def over(self, defaults: Mapping[str, object]) -> "Fields":
        """These fields, with `defaults` for those that are absent."""
        return Fields({**defaults, **self.values}, self.where, self.prefix)


def read_json(path: Path, *, in_folder: str) -> Fields:
    """The object in a JSON file: `path`, or the file `in_folder` of the folder `path`.

    NaN and infinities are refused, as RFC 8259 has it, and so is a key given twice.
    Raises InputError when the file cannot be read or holds anything but one JSON object.
    """
    try:
        file = path / in_folder if path.is_dir() else path
        text = file.read_text(encoding="utf-8")
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_not_a_number)
    except OSError as error:
        raise InputError(in_folder, str(path), f"a file that can be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(in_folder, str(path), f"JSON ({error})", where=str(path)) from error
    if not isinstance(value, dict):
        raise InputError(in_folder, value, "one JSON object", where=str(file))
    return Fields(value, str(file))


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return dict(pairs)


def _not_a_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
