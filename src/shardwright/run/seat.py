"""Where one rank sits: its coordinates, its stage, the groups it talks in and the expert slots it owns."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shardwright.layout.grid import Coordinates, Grid, Role, build_grid, coordinates, role
from shardwright.layout.layout import Layout
from shardwright.layout.members import collective_groups
from shardwright.layout.placement import Placement, linear_placement
from shardwright.layout.stages import layer_ranges
from shardwright.model.spec import ModelSpec

Members = tuple[int, ...]
"""The ranks of a group, in the group's own order."""


@dataclass(frozen=True, kw_only=True)
class Seats:
    """All ranks of one layout of one model: what the seats of single ranks are cut from.

    near_ranks: neighbours of a TP group that sum among themselves before the group does; 1 is a flat sum.
    """

    model: ModelSpec
    layout: Layout
    stage_layers: tuple[int, ...]
    near_ranks: int = 1

    @cached_property
    def grid(self) -> Grid:
        return build_grid(self.layout)

    @cached_property
    def placement(self) -> Placement | None:
        """Slots of every expert layer over the ep axis; None for a dense model."""
        if self.model.experts is None:
            return None
        return linear_placement(self.model.experts.num_experts, self.layout.ep, self.layout.redundant)

    @cached_property
    def _groups(self) -> dict[str, list[Members]]:
        axes = ["tp", "tp_near", "tp_far", "dp", "etp", "pp"] + (["exchange"] if self.placement else [])
        rows = {axis: collective_groups(self.grid, axis, self.near_ranks) for axis in axes}
        return {axis: [tuple(map(int, row)) for row in found] for axis, found in rows.items()}

    def group(self, axis: str, rank: int) -> Members:
        """The group of `axis` that `rank` is in."""
        return next(members for members in self._groups[axis] if rank in members)

    def exchanges(self, rank: int) -> list[Members]:
        """The exchange groups of `rank`, by stage: several for a shared expert rank, one for all others."""
        return [members for members in self._groups.get("exchange", []) if rank in members]

    def all_groups(self) -> list[Members]:
        """Every group of more than one rank that may communicate, each once."""
        found = {members for axis in self._groups.values() for members in axis}
        return sorted(members for members in found if len(members) > 1)

    def seat(self, rank: int) -> "Seat":
        """The seat of one rank."""
        return Seat(seats=self, rank=rank, place=coordinates(self.grid, rank), role=role(self.grid, rank))


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One rank. `place` has None on the axes that the rank is not on."""

    seats: Seats
    rank: int
    place: Coordinates
    role: Role

    @property
    def layout(self) -> Layout:
        return self.seats.layout

    @property
    def stages(self) -> range:
        """The stages that the rank works for: its own, or all where experts are shared."""
        if self.place.stage is None:
            return range(self.layout.pp)
        return range(self.place.stage, self.place.stage + 1)

    @property
    def is_first(self) -> bool:
        return self.place.stage == 0

    @property
    def is_last(self) -> bool:
        return self.place.stage == self.layout.pp - 1

    def layers(self, stage: int) -> range:
        """The layers of a stage."""
        return layer_ranges(self.seats.stage_layers)[stage]

    @cached_property
    def tp_group(self) -> Members:
        return self.seats.group("tp", self.rank)

    @cached_property
    def near_group(self) -> Members:
        """The part of the TP group that sums first: near_ranks neighbours; none on an expert-only rank."""
        return () if self.place.tp is None else self.seats.group("tp_near", self.rank)

    @cached_property
    def far_group(self) -> Members:
        """The ranks of equal place in the near groups of the TP group."""
        return () if self.place.tp is None else self.seats.group("tp_far", self.rank)

    @cached_property
    def lanes(self) -> Members:
        """Where ETP is wider than TP: the ranks of equal tp index whose tokens are gathered; else none."""
        if self.layout.home != "folded" or self.layout.etp <= self.layout.tp:
            return ()
        return self.seats.group("etp", self.rank)

    def exchange_group(self, stage: int) -> Members:
        """The ranks among which the tokens of a stage are dispatched."""
        found = self.seats.exchanges(self.rank)
        return found[stage if self.place.stage is None else 0]

    @cached_property
    def neighbours(self) -> tuple[int | None, int | None]:
        """The ranks of equal coordinates in the stage before and after."""
        line = self.seats.group("pp", self.rank)
        here = line.index(self.rank)
        before = line[here - 1] if here else None
        return before, line[here + 1] if here + 1 < len(line) else None

    @cached_property
    def slots(self) -> tuple[int, ...]:
        """The expert slots of the rank; none on an attention-only rank."""
        placement = self.seats.placement
        if placement is None or self.place.ep is None:
            return ()
        return placement.slots_of(self.place.ep)

    def slots_in_group(self, stage: int) -> list[tuple[int, ...]]:
        """The slots of every member of the exchange group, in its order."""
        placement = self.seats.placement
        assert placement is not None
        experts = self.seats.grid.expert_ranks
        owned = []
        for member in self.exchange_group(stage):
            places = np.argwhere(experts == member)
            owned.append(placement.slots_of(int(places[0][3])) if len(places) else ())
        return owned
