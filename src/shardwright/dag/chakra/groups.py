"""The process groups of a trace: ids, and which of them a rank uses for a collective."""

import json
from collections import defaultdict
from dataclasses import dataclass

from shardwright.layout.grid import Grid
from shardwright.layout.members import collective_groups

Members = tuple[int, ...]


@dataclass(frozen=True)
class ProcessGroups:
    """members: group `id` at place id - 1 (ASTRA-sim keeps 0 for all ranks).

    ids: of a rank on an axis; several on the exchange of experts that all stages share, one a stage.
    """

    members: tuple[Members, ...]
    ids: dict[tuple[str, int], list[int]]

    def id_of(self, axis: str, rank: int, stage: int) -> int:
        """The group in which `rank` does its collectives over `axis` for `stage`."""
        held = self.ids[axis, rank]
        return held[stage if len(held) > 1 else 0]

    def as_json(self) -> str:
        """{id: ranks}, the communicator group file of ASTRA-sim (--comm-group-configuration)."""
        rows = [f'"{number}": {json.dumps(row)}' for number, row in enumerate(self.members, 1)]
        return "{\n" + ",\n".join(rows) + "\n}\n"


def process_groups(grid: Grid, axes: set[str], near_ranks: int) -> ProcessGroups:
    """All groups of these axes of collectives, axis by axis."""
    members: list[Members] = []
    ids: dict[tuple[str, int], list[int]] = defaultdict(list)
    for axis in sorted(axes):
        for row in collective_groups(grid, axis, near_ranks).tolist():
            members.append(tuple(row))
            for rank in row:
                ids[axis, rank].append(len(members))
    return ProcessGroups(tuple(members), ids)
