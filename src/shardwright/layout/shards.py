"""Which part of which weight a rank holds: the interpreter of model/weight.py's SHARDINGS.

Attention ranks of the stage that owns a layer hold its attention, norms, dense MLP, router and shared
experts; expert ranks hold the slots that the Placement gives them, sliced over etp. The embedding
stands on the first stage, the last norm and the head on the last.

Where a dim does not divide, slices are of equal size, rounded up, and the last are short or empty
(vLLM pads the vocabulary to the same effect). Whether that may run is an engine's rule.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol

from shardwright.errors import InputError
from shardwright.layout.grid import Coordinates, Grid, coordinates
from shardwright.layout.notation import format_layout
from shardwright.layout.placement import Placement, linear_placement
from shardwright.layout.stages import layer_ranges
from shardwright.model.weight import SHARDINGS, Weight
from shardwright.record import Size

Slices = tuple[slice, ...]


class SlicingDegrees(Protocol):
    """The degrees that slice tensors: of a Layout, or arrays over many layouts."""

    @property
    def tp(self) -> Size: ...
    @property
    def etp(self) -> Size: ...


@dataclass(frozen=True, kw_only=True)
class Shard:
    """What one rank holds of one tensor: `slices`, one a dim, of the tensor that the checkpoint calls `name`.

    slot: the physical expert slot, for an expert. Of a fused tensor each slot is a shard of its own, one
    expert wide along dim 0.
    """

    weight: Weight
    name: str
    slices: Slices
    slot: int | None = None

    @property
    def num_elements(self) -> int:
        """Elements that the rank holds."""
        return prod(part.stop - part.start for part in self.slices)

    @property
    def num_bytes(self) -> float:
        """Bytes that the rank holds."""
        return self.num_elements * self.weight.bytes_per_element


def local_elements(weight: Weight, degrees: SlicingDegrees, slots: Size = 1) -> Size:
    """Elements of `weight` on the rank that holds most, among those that hold its layer.

    slots: expert slots of that rank, see placement.max_slots. Arrays give an array.
    """
    rule = SHARDINGS[weight.sharding]
    local: Size = prod(weight.shape)
    if rule.axis is not None and rule.dim is not None:
        num_units = weight.num_units or weight.shape[rule.dim]
        degree = degrees.tp if rule.axis == "tp" else degrees.etp
        local = local // num_units * -(-num_units // degree)
    return local * slots if rule.per_slot else local


def rank_shards(
    weights: Sequence[Weight],
    grid: Grid,
    stage_counts: tuple[int, ...],
    rank: int,
    placements: Mapping[int, Placement] | None = None,
) -> list[Shard]:
    """Everything that `rank` holds, in the order of `weights` (model/weights.py).

    stage_counts: layers of each stage. placements: of the layers where it is not the linear one.
    Without a row for the head the embedding is tied: a last stage of its own holds it once more, as 'head'.
    Raises InputError when the model has experts and the layout, folded, has no grid of experts.
    """
    if any(weight.num_experts for weight in weights) and not grid.expert_ranks.size:
        allowed = "expert degrees, etp x ep x edp = tp x dp: the model has experts"
        raise InputError("layout", format_layout(grid.layout), allowed)
    place = coordinates(grid, rank)
    shards: list[Shard] = []
    for weight in _held(weights, place, stage_counts):
        if weight.num_experts:
            shards += _expert_shards(weight, grid, place, placements or {})
        else:
            shards += _attention_shard(weight, grid.layout.tp, place.tp)
    return shards


def _held(weights: Sequence[Weight], place: Coordinates, stage_counts: tuple[int, ...]) -> Iterator[Weight]:
    """The rows of which `place` holds a part; every layer's for shared expert ranks."""
    last = len(stage_counts) - 1
    layers = range(sum(stage_counts)) if place.stage is None else layer_ranges(stage_counts)[place.stage]
    tied = all(weight.part != "head" for weight in weights)
    for weight in weights:
        if weight.layer is not None:
            if weight.layer in layers:
                yield weight
        elif weight.part == "embedding":
            if place.stage == 0:
                yield weight
            elif tied and place.stage == last:
                yield replace(weight, part="head")
        elif place.stage == last:
            yield weight


def _attention_shard(weight: Weight, tp: int, index: int | None) -> Iterator[Shard]:
    """The shard of tp rank `index`; none on a rank without attention."""
    rule = SHARDINGS[weight.sharding]
    if index is not None and (index == 0 or not rule.first_rank):
        yield Shard(weight=weight, name=weight.name, slices=_slices(weight, tp, index))


def _expert_shards(
    weight: Weight, grid: Grid, place: Coordinates, placements: Mapping[int, Placement]
) -> Iterator[Shard]:
    """The shards of the rank's slots; none on a rank without experts."""
    if place.ep is None or place.etp is None or (place.etp and SHARDINGS[weight.sharding].first_rank):
        return
    layout, layer = grid.layout, weight.layer
    placement = placements.get(layer) if layer is not None else None
    if placement is None:
        placement = linear_placement(weight.num_experts, layout.ep, layout.redundant)
    slices = _slices(weight, layout.etp, place.etp)
    for slot in placement.slots_of(place.ep):
        expert = placement.experts[slot]
        yield Shard(
            weight=weight,
            name=weight.name.format(expert=expert),
            slices=(slice(expert, expert + 1), *slices) if weight.fused_experts else slices,
            slot=slot,
        )


def _slices(weight: Weight, degree: int, index: int) -> Slices:
    """The slices of rank `index` of `degree` along the axis of the weight's rule.

    KV heads fewer than ranks: rank r holds head r x heads // ranks, so that it serves its query heads
    (vLLM, QKVParallelLinear: replicas of one head are neighbours).
    """
    rule = SHARDINGS[weight.sharding]
    whole = [slice(0, size) for size in weight.shape]
    if rule.axis is None or rule.dim is None:
        return tuple(whole)
    size = weight.shape[rule.dim]
    num_units = weight.num_units or size
    per_unit = size // num_units
    if rule.unit == "kv_head" and num_units < degree:
        first = index * num_units // degree
        last = first + 1
    else:
        each = -(-num_units // degree)
        first, last = min(index * each, num_units), min((index + 1) * each, num_units)
    start = weight.starts_at
    whole[rule.dim] = slice(start + first * per_unit, start + last * per_unit)
    return tuple(whole)
