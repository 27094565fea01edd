"""Whether a rank has room on a device: its bytes foreseen, before anything of it is made."""

import torch

from shardwright.errors import EnvironmentLacksError
from shardwright.layout.shards import Shard, rank_shards
from shardwright.model.kv import kv_bytes_per_token_per_layer_per_rank
from shardwright.model.weights import weights
from shardwright.run.alone.turn import Turn
from shardwright.run.machine import device_name, free_bytes
from shardwright.run.seat import Seat
from shardwright.units import format_bytes

SCORE_BYTES = 4.0
"""Softmax is in fp32 (eager_attention_forward of transformers 5.23.0), beside two copies in the dtype."""


def check_room(seat: Seat, turns: list[Turn], device: torch.device, *, eager: bool) -> None:
    """Raise EnvironmentLacksError unless the rank and its largest turn fit what the device has free."""
    needed, free = foreseen_bytes(seat, turns, eager=eager), free_bytes(device)
    if needed > free:
        raise EnvironmentLacksError(
            f"rank {seat.rank} needs about {format_bytes(needed)}, and {device_name(device)} has "
            f"{format_bytes(free)} free: take a layout with more ranks, or a shorter context"
        )


def foreseen_bytes(seat: Seat, turns: list[Turn], *, eager: bool) -> float:
    """Weights, with one layer's experts twice while they are put together, and the larger of the turns.

    A turn holds its KV and, where attention is eager, the scores of a layer. Smaller tensors are left out.
    """
    shards = rank_shards(weights(seat.seats.model), seat.seats.grid, seat.seats.stage_layers, seat.rank)
    whole = sum(shard.num_bytes for shard in shards)
    return whole + _largest_experts(shards) + max(_turn_bytes(seat, turn, eager=eager) for turn in turns)


def kept_kv_bytes(seat: Seat, turn: Turn) -> float:
    """KV that our runtime keeps for a turn: every token in every layer, in windowed ones too."""
    if seat.role == "experts":
        return 0.0
    num_layers = sum(len(seat.layers(stage)) for stage in seat.stages)
    row_bytes = kv_bytes_per_token_per_layer_per_rank(seat.seats.model, seat.layout.tp)
    return row_bytes * num_layers * turn.sequences * turn.context


def _turn_bytes(seat: Seat, turn: Turn, *, eager: bool) -> float:
    if seat.role == "experts":
        return 0.0
    model = seat.seats.model
    heads = model.attention.num_heads / seat.layout.tp
    scores = heads * turn.sequences * turn.query_tokens * turn.context
    score_bytes = scores * (SCORE_BYTES + 2 * model.activation_bytes) if eager else 0.0
    return kept_kv_bytes(seat, turn) + score_bytes


def _largest_experts(shards: list[Shard]) -> float:
    by_layer: dict[int | None, float] = {}
    for shard in shards:
        if shard.slot is not None:
            by_layer[shard.weight.layer] = by_layer.get(shard.weight.layer, 0.0) + shard.num_bytes
    return max(by_layer.values(), default=0.0)
