"""Mistakes in what a rank holds: slices, biases, replicas, stages, KV heads."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from pytest import MonkeyPatch
from torch import Tensor

from shardwright.layout import shards
from shardwright.layout.grid import Coordinates
from shardwright.layout.placement import Placement, linear_placement
from shardwright.layout.shards import Shard, Slices
from shardwright.layout.stages import layer_ranges
from shardwright.model.weight import SHARDINGS, Weight
from shardwright.model.weights import CORRECTION_BIAS
from shardwright.run import prove, seat
from shardwright.run.modules import _Loader
from tests.run.mutant import Mutant, attribute, item

slices_of = shards._slices
read = _Loader._read
held_rows = shards._held


def kv_head_by_remainder(weight: Weight, degree: int, index: int) -> Slices:
    """Rank r takes KV head r mod 4, not r // 2."""
    if SHARDINGS[weight.sharding].unit == "kv_head" and weight.num_units < degree:
        return slices_of(weight, weight.num_units, index % weight.num_units)
    return slices_of(weight, degree, index)


def first_slice_of(ending: str) -> Callable[[Weight, int, int], Slices]:
    """Every rank takes the slice of rank 0."""

    def mutant(weight: Weight, degree: int, index: int) -> Slices:
        return slices_of(weight, degree, 0 if weight.name.endswith(ending) else index)

    return mutant


def swapped(ending: str) -> Callable[[Weight, int, int], Slices]:
    """The ranks' slices in reverse."""

    def mutant(weight: Weight, degree: int, index: int) -> Slices:
        return slices_of(weight, degree, degree - 1 - index if weight.name.endswith(ending) else index)

    return mutant


def contiguous_packed(self: _Loader, name: str, own: list[Shard], like: Tensor) -> Tensor:
    """One slice of [gate; up], where each of the two has its own."""
    if name != "gate_up_proj":
        return rows_of(self, name, own, like)
    gate, up = own[0], own[1]
    part, columns = gate.slices
    width = part.stop - part.start
    whole = [
        read(self, replace(shard, slices=(slice(0, gate.weight.shape[0]), columns))) for shard in (gate, up)
    ]
    self.num_loaded -= sum(tensor.numel() for tensor in whole) - 2 * width * like.shape[-1]
    return torch.cat(whole)[2 * part.start : 2 * part.start + 2 * width]


rows_of = _Loader._expert_rows


def halves_of_pairs(weight: Weight, degree: int, index: int) -> Slices:
    """gpt-oss's pairs taken for [gate; up]: a rank's slice starts one value off, and mixes the two."""
    found = slices_of(weight, degree, index)
    if weight.sharding != "expert_pairs" or index == 0:
        return found
    first, pairs = found
    return (first, slice(pairs.start - 1, pairs.stop - 1))


def read_without(ending: str) -> Callable[[_Loader, Shard], Tensor]:
    """Zeros for one tensor."""

    def mutant(self: _Loader, shard: Shard) -> Tensor:
        found = read(self, shard)
        return torch.zeros_like(found) if shard.name.endswith(ending) else found

    return mutant


def copies_of_the_next_expert(num_experts: int, ep: int, redundant: int = 0) -> Placement:
    """The redundant slots are loaded with experts 1, 2, ..., and used as 0, 1, ..."""
    right = linear_placement(num_experts, ep, redundant)
    later = tuple((expert + 1) % num_experts for expert in right.experts[num_experts:])
    return replace(right, experts=right.experts[:num_experts] + later)


def without_tied_head(weights: Any, place: Coordinates, counts: tuple[int, ...]) -> Iterator[Weight]:
    return (row for row in held_rows(weights, place, counts) if row.part != "head")


def stages_overlap(counts: tuple[int, ...]) -> tuple[range, ...]:
    """Every stage but the first begins, and ends, a layer early."""
    return tuple(
        range(layers.start - 1, layers.stop - 1) if layers.start else layers
        for layers in layer_ranges(counts)
    )


def off_by_one_stage(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "layer_ranges", stages_overlap)
    monkeypatch.setattr(seat, "layer_ranges", stages_overlap)


def read_twice(self: _Loader, shard: Shard) -> Tensor:
    """The router is read once more than it is held."""
    if shard.weight.part == "router":
        read(self, shard)
    return read(self, shard)


def kv_of_one_head_more(model: Any, tp: int) -> float:
    return kv_bytes(model, tp) * 1.25


kv_bytes = prove.kv_bytes_per_token_per_layer_per_rank

WEIGHT_MUTANTS: dict[str, Mutant] = {
    "o_proj bias on every rank": Mutant(
        family="llama", layout="tp2", patch=item(SHARDINGS, "first_rank", SHARDINGS["replicate"])
    ),
    "o_proj bias on no rank": Mutant(
        family="gpt_oss",
        layout="tp2/ep2",
        patch=attribute(_Loader, "_read", read_without("o_proj.bias")),
    ),
    "contiguous slice of [gate; up]": Mutant(
        family="mixtral", layout="tp2/etp2", patch=attribute(_Loader, "_expert_rows", contiguous_packed)
    ),
    "pairs of gate and up torn apart": Mutant(
        family="gpt_oss", layout="tp2/etp2", patch=attribute(shards, "_slices", halves_of_pairs)
    ),
    "down_proj bias on every ETP rank": Mutant(
        family="gpt_oss",
        layout="tp2/etp2",
        patch=item(SHARDINGS, "expert_first_rank", replace(SHARDINGS["expert_first_rank"], first_rank=False)),
    ),
    "redundant slots loaded with other experts": Mutant(
        family="qwen3_moe",
        layout="dp4/ep4.r4",
        patch=attribute(shards, "linear_placement", copies_of_the_next_expert),
    ),
    "stages begin a layer early": Mutant(family="llama", layout="pp2", patch=off_by_one_stage),
    "KV head of another group": Mutant(
        family="mixtral", layout="tp8/ep8", patch=attribute(shards, "_slices", kv_head_by_remainder)
    ),
    "query heads in reverse": Mutant(
        family="deepseek_v3", layout="tp2/ep2", patch=attribute(shards, "_slices", swapped("q_b_proj.weight"))
    ),
    "sinks not sliced": Mutant(
        family="gpt_oss", layout="tp2/ep2", patch=attribute(shards, "_slices", first_slice_of("sinks"))
    ),
    "correction bias dropped": Mutant(
        family="deepseek_v3",
        layout="tp2/ep2",
        patch=attribute(_Loader, "_read", read_without(CORRECTION_BIAS)),
        caught="other experts",
    ),
    "tied head not copied to the last stage": Mutant(
        family="qwen3", layout="pp2", patch=attribute(shards, "_held", without_tied_head), caught="unpack"
    ),
    "a weight read that is not held": Mutant(
        family="mixtral",
        layout="dp2/ep2",
        patch=attribute(_Loader, "_read", read_twice),
        caught="^weights of a rank differ from the sharding rules$",
    ),
    "memory model counts more KV than there is": Mutant(
        family="mixtral",
        layout="tp2/ep2",
        patch=attribute(prove, "kv_bytes_per_token_per_layer_per_rank", kv_of_one_head_more),
        caught="^KV bytes of a rank differ from the memory model$",
    ),
    "KV heads not divided": Mutant(
        family="qwen3",
        layout="tp2",
        patch=item(SHARDINGS, "kv_heads", SHARDINGS["replicate"]),
        caught="k_proj",
    ),
}
