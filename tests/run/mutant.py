"""A mistake that the proof must find, and how it is made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest import MonkeyPatch

Patch = Callable[[MonkeyPatch], None]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One mistake. caught: a pattern of what the failures, joined by '; ', or the error must say."""

    family: str
    layout: str
    patch: Patch
    caught: str = "logits differ"


def item(table: dict[str, Any], key: str, value: Any) -> Patch:
    """Another value in a table of the program."""
    return lambda monkeypatch: monkeypatch.setitem(table, key, value)


def attribute(owner: Any, name: str, value: Any) -> Patch:
    """Another function in a module, or method of a class."""
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value)
