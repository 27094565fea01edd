"""Which rows of the table are played: those that the best overlap could make the best.

Rows are ordered by their hopes. While the first one is not settled, it is played and its figures replaced by
what comes out; so the row that stays first is the best of all, as far as `most` plays reach.
"""

from collections.abc import Callable
from dataclasses import replace

from shardwright.plan.deployment import Deployment
from shardwright.search.cases import SERVED
from shardwright.search.choose import Ranking
from shardwright.search.table import Table
from shardwright.search.timing import Timing, time_layout

MOST_PLAYED = 8
"""Layouts whose schedules are played in one search: each takes a fraction of a second."""


def settle(deployment: Deployment, table: Table, order: Callable[[Table], Ranking]) -> Table:
    """The table with the figures of its finalists as the timeline gives them, in their best schedules."""
    if not table.unsettled.any():
        return table
    hopeful = replace(table, columns=table.columns | table.hopes)
    for _ in range(MOST_PLAYED):
        first = order(hopeful).order[:1]
        if not len(first) or not hopeful.unsettled[first[0]]:
            break
        row = int(first[0])
        timing = time_layout(deployment, table.layout(row))
        hopeful, table = _with(hopeful, row, timing), _with(table, row, timing)
    return table


def _with(table: Table, row: int, timing: Timing) -> Table:
    """The table with one row as it was played."""
    figures = {name: float(get(timing.served)) for name, get in SERVED.items()}
    figures["communication_fraction"] = timing.step.exposed
    columns = dict(table.columns)
    for name, figure in figures.items():
        columns[name] = columns[name].copy()
        columns[name][row] = figure
    unsettled = table.unsettled.copy()
    unsettled[row] = False
    return replace(table, columns=columns, unsettled=unsettled, played={**table.played, row: timing})
