"""Reading tables: linear between their points, level beyond them."""

from shardwright.serving.compiled import compiled
from shardwright.serving.times import Floats


@compiled
def place(points: Floats, value: float) -> tuple[int, float]:
    """(index of the point below, share of the way to the next one) of `value` among ascending points."""
    last = len(points) - 1
    if last == 0 or value <= points[0]:
        return 0, 0.0
    if value >= points[last]:
        return last - 1, 1.0
    # By hand, for numba's searchsorted takes half as long again.
    below, above = 0, last
    while above - below > 1:
        middle = (below + above) // 2
        if points[middle] <= value:
            below = middle
        else:
            above = middle
    return below, float((value - points[below]) / (points[below + 1] - points[below]))


@compiled
def along(points: Floats, values: Floats, value: float) -> float:
    """A table of one axis at `value`."""
    below, share = place(points, value)
    if len(points) == 1:
        return float(values[0])
    return float(values[below] * (1.0 - share) + values[below + 1] * share)


@compiled
def line(rows: Floats, values: Floats, row: float, into: Floats) -> None:
    """The line of a table of two axes at `row`, over its columns, written to `into`."""
    above, down = place(rows, row)
    into[:] = values[above] * (1.0 - down) + values[min(above + 1, len(rows) - 1)] * down


@compiled
def across(rows: Floats, columns: Floats, values: Floats, row: float, column: float) -> float:
    """A table of two axes at (row, column)."""
    above, down = place(rows, row)
    left, right = place(columns, column)
    under = min(above + 1, len(rows) - 1)
    after = min(left + 1, len(columns) - 1)
    upper = values[above, left] * (1.0 - right) + values[above, after] * right
    lower = values[under, left] * (1.0 - right) + values[under, after] * right
    return float(upper * (1.0 - down) + lower * down)
