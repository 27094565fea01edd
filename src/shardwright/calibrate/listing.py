"""Measured rows as CSV: a line a row, after lines that say where they come from."""

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from shardwright.calibrate.own import Measured, own_source
from shardwright.calibrate.rows import Rows

FIRST = ("operation", "kernel", "format")


def rows_text(measured: Measured) -> str:
    """All rows, those of the memory too. A column is empty where an operation has no such size."""
    lines = [
        line for field, rows in (("memory", measured.memory), *measured.rows) for line in _lines(field, rows)
    ]
    sizes = dict.fromkeys(name for line in lines for name in line if name not in (*FIRST, "seconds"))
    text = io.StringIO(f"# {own_source(measured)}\n# {measured.date}\n")
    text.seek(0, io.SEEK_END)
    writer = csv.DictWriter(text, [*FIRST, *sizes, "seconds"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _lines(field: str, rows: Rows[Any]) -> Iterator[dict[str, object]]:
    operation = rows.operation
    sizes = {
        each.name: value
        for each in fields(operation)
        if isinstance(value := getattr(operation, each.name), np.ndarray)
    }
    for index, seconds in enumerate(rows.seconds):
        own = {name: f"{values[index]:g}" for name, values in sizes.items()}
        told = {"operation": field, "kernel": rows.kernel, "format": rows.format}
        yield {**told, **own, "seconds": f"{seconds:.4g}"}
