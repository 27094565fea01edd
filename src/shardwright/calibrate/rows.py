"""Measured rows of one kernel: operations whose sizes are arrays, and the seconds that they took."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from shardwright.cost.law import Format
from shardwright.engine.engine import Kernels
from shardwright.steps.operation import Operation

Op = TypeVar("Op", bound=Operation)

FEW_SHAPES = 4
"""With fewer shapes than this nothing can be held out: a table of such rows makes no law."""


@dataclass(frozen=True, kw_only=True)
class Rows(Generic[Op]):
    """shapes: rows of one number have the same shape, and are never on both sides of a hold-out.

    excluded: how many rows were left out before, by reason. parts: names of kinds of rows whose errors are
    told apart; None: there is one.
    """

    kernels: Kernels
    version: str
    kernel: str
    format: Format
    operation: Op
    seconds: NDArray[np.float64]
    shapes: NDArray[np.int64]
    excluded: dict[str, int] = field(default_factory=dict)
    parts: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def name(self) -> str:
        """For people: whose kernel, and its format."""
        return f"{self.kernels} {self.version} {self.kernel} {self.format}"

    def where(self, keep: NDArray[np.bool_] | NDArray[np.int64]) -> "Rows[Op]":
        """Some of the rows."""
        return replace(
            self,
            operation=operation_where(self.operation, keep),
            seconds=self.seconds[keep],
            shapes=self.shapes[keep],
            parts=None if self.parts is None else self.parts[keep],
        )

    def without(self, rules: dict[str, NDArray[np.bool_]]) -> "Rows[Op]":
        """The rows to which none of the rules applies; each row counts for the first that does."""
        left, excluded = np.ones(len(self), dtype=bool), dict(self.excluded)
        for reason, applies in rules.items():
            if hit := int(np.count_nonzero(left & applies)):
                excluded[reason] = excluded.get(reason, 0) + hit
            left &= ~applies
        return replace(self.where(left), excluded=excluded)


def operation_where(operation: Op, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Op:
    """The operation with the entries of its arrays that `keep` selects."""
    arrays = {
        each.name: value[keep]
        for each in fields(operation)
        if isinstance(value := getattr(operation, each.name), np.ndarray)
    }
    return replace(operation, **arrays)


def stacked(operations: Sequence[Op]) -> Op:
    """The operations as one: what differs among them in arrays, with an entry each."""
    arrays = {}
    for each in fields(operations[0]):
        values = [getattr(operation, each.name) for operation in operations]
        if any(value != values[0] for value in values):
            arrays[each.name] = np.array(values, dtype=float)
    return replace(operations[0], **arrays)


def shape_numbers(*columns: NDArray[np.float64]) -> NDArray[np.int64]:
    """One number for each distinct row of the columns."""
    found: NDArray[np.int64] = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].ravel()
    return found
