"""A report before it is drawn: blocks of plain text, built once, drawn by the terminal and by markdown.

Text is as the user gave it: escaping, colour and wrapping are the renderers' own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Renderer = Literal["terminal", "markdown"]
ColumnKind = Literal["text", "name", "number", "status"]
"""Prose; a canonical layout (never broken, code in markdown); right-aligned; one word of a verdict."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """only: 'markdown' for detail that would try the patience of a reader at a terminal, 'terminal' for the
    brief form of it."""

    only: Renderer | None = None


@dataclass(frozen=True)
class Heading(Block):
    """Level 1 is the title of the report."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph(Block):
    """status: the word whose colour the paragraph takes, as in a status column."""

    text: str
    status: str = ""


@dataclass(frozen=True)
class Column:
    title: str
    kind: ColumnKind = "text"


@dataclass(frozen=True)
class Table(Block):
    """Each row has one cell a column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows)


@dataclass(frozen=True)
class Item:
    """One bullet: what it is about, and what is said of it."""

    label: str
    text: str


@dataclass(frozen=True)
class Bullets(Block):
    items: tuple[str | Item, ...]


@dataclass(frozen=True)
class Code(Block):
    """Lines to be copied as they stand."""

    text: str
    language: str = "sh"


Document = tuple[Heading | Paragraph | Table | Bullets | Code, ...]


def columns(*titles: str | tuple[str, ColumnKind]) -> tuple[Column, ...]:
    """Columns of a table; a bare title is a column of text.

    >>> columns("rule", ("GPUs", "number"))
    (Column(title='rule', kind='text'), Column(title='GPUs', kind='number'))
    """
    return tuple(Column(title) if isinstance(title, str) else Column(*title) for title in titles)


def table(heads: tuple[Column, ...], rows: Sequence[tuple[str, ...]]) -> tuple[Table, ...]:
    """The table, or no block at all when it has no rows."""
    return (Table(heads, tuple(rows)),) if rows else ()


def in_detail(document: Document) -> Document:
    """The same blocks, for the markdown only."""
    return tuple(replace(block, only="markdown") for block in document)


def in_brief(document: Document) -> Document:
    """The same blocks, for the terminal only: the markdown has them in detail."""
    return tuple(replace(block, only="terminal") for block in document)


def drawn_by(document: Document, renderer: Renderer) -> Document:
    """The blocks that `renderer` draws."""
    return tuple(block for block in document if block.only in (None, renderer))


def printable(text: str) -> str:
    """`text` without line ends, escape sequences and invisible characters: they would leave their line.

    >>> printable("tp2\\x1b[31m\\n| rm")
    'tp2 [31m | rm'
    """
    return "".join(character if character.isprintable() else " " for character in text)
