"""Mistakes in what a rank does: sums, masks, positions, caches, routing, dispatch and combine."""

from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor

from shardwright.layout.placement import Placement
from shardwright.run import exchange, perform, program
from shardwright.run.batch import MicroBatch
from shardwright.run.network import Request
from shardwright.run.program import GIVES, KERNELS, TAKES, _State
from shardwright.run.session import Player
from tests.run.mutant import Mutant, attribute, item


def router_on_a_slice(state: _State) -> None:
    """Each tp rank scores its part of the hidden values, and nobody sums."""
    whole, width = state.y, state.model.hidden // state.tp
    mine = torch.zeros_like(whole)
    first = (state.seat.place.tp or 0) * width
    mine[..., first : first + width] = whole[..., first : first + width]
    state.y = mine
    _State.choose_experts(state)
    state.y, state.rows = whole, whole.reshape(-1, state.model.hidden)


def embed_without_mask(state: _State) -> None:
    """Tokens of other ranks give the row at the edge."""
    table = state.rank.modules.embedding
    assert table is not None
    first = -(-state.model.vocab // state.tp) * (state.seat.place.tp or 0)
    state.x = table[(state.batch.tokens_BS - first).clamp(0, table.shape[0] - 1)]


def keep_local_sum(state: _State, summed: Tensor) -> None:
    state.add_block(state.h)


def local_squares(state: _State, summed: Tensor) -> None:
    """The mean of the own slice for that of all."""
    state.set_squares(state.squares * state.tp)


def all_tokens(state: _State) -> tuple[int, int]:
    """Every tp rank dispatches all tokens, not its slice."""
    return (0, 0) if state.seat.role == "experts" else (0, state.rows_before.shape[0])


def shared_part_twice(state: _State) -> Tensor:
    return 2 * state.h + state.merge_experts()


def logits_reversed(state: _State, gathered: Tensor) -> None:
    state.take_logits(gathered.view(state.tp, -1, gathered.shape[-1]).flip(0).reshape_as(gathered))


mask_of = MicroBatch.mask_B1SP


def mask_without_window(self: MicroBatch, dtype: torch.dtype, window: int | None = None) -> Tensor:
    return mask_of(self, dtype, None)


def window_of_one_more(self: MicroBatch, dtype: torch.dtype, window: int | None = None) -> Tensor:
    return mask_of(self, dtype, window + 1 if window else None)


def mask_with_padding(self: MicroBatch, dtype: torch.dtype, window: int | None = None) -> Tensor:
    bare = MicroBatch(padding_B=torch.zeros_like(self.padding_B), past=self.past, tokens_BS=self.tokens_BS)
    return mask_of(bare, dtype, window)


def positions_from_zero(self: MicroBatch) -> Tensor:
    """Those of the prefill, in every step."""
    return (torch.arange(self.shape[1])[None] - self.padding_B[:, None]).clamp(min=0)


class OneCache(Player):
    """A player whose micro-batches write into the same cache."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.caches = self.caches[:1] * len(self.caches)


choose = exchange.choose_slots


def next_slot(ids: Tensor, placement: Placement) -> Tensor:
    return (choose(ids, placement) + 1) % len(placement.experts)


def replica_of_another(ids: Tensor, placement: Placement) -> Tensor:
    """Redundant slots are taken one further."""
    slots, number = choose(ids, placement), placement.num_experts
    copies = len(placement.experts) - number
    return torch.where(slots >= number, (slots - number + 1) % copies + number, slots)


def combine_without_weights(
    route: Any, layer: int, rows: Tensor, weights: Tensor
) -> Generator[Request, Tensor, Tensor]:
    mean = torch.full_like(weights, 1 / weights.shape[1])
    return (yield from exchange.combine(route, layer, rows, mean))


def combine_by_last_choice(
    route: Any, layer: int, rows: Tensor, weights: Tensor
) -> Generator[Request, Tensor, Tensor]:
    """The weight of a token's other choice."""
    return (yield from exchange.combine(route, layer, rows, weights.flip(1)))


def dispatch_in_double(route: Any, layer: int, rows: Tensor) -> Generator[Request, Tensor, Tensor]:
    """Right, at twice the bytes."""
    came = yield from exchange.dispatch(route, layer, rows.double())
    return came.to(rows.dtype)


def all_sets_serve(own: Any, stage: int, member: int) -> bool:
    return True


STEP_MUTANTS: dict[str, Mutant] = {
    "tokens sent to another's replica": Mutant(
        family="olmoe", layout="dp2/ep2.r2", patch=attribute(exchange, "choose_slots", replica_of_another)
    ),
    "router on a slice of the hidden values": Mutant(
        family="olmoe",
        layout="tp2/ep2",
        patch=item(KERNELS, "top_k", router_on_a_slice),
        caught="other experts",
    ),
    "embedding not masked": Mutant(
        family="qwen3", layout="tp2", patch=item(KERNELS, "embedding", embed_without_mask)
    ),
    "no all-reduce after attention": Mutant(
        family="qwen3_moe", layout="tp2/ep2", patch=item(TAKES, "attention_sum", keep_local_sum)
    ),
    "no all-reduce after a dense MLP": Mutant(
        family="qwen3", layout="tp2", patch=item(TAKES, "mlp_sum", keep_local_sum)
    ),
    "q and k normalised by their own slice": Mutant(
        family="olmoe", layout="tp2/ep2", patch=item(TAKES, "qk_norm_sum", local_squares)
    ),
    "shared experts summed twice": Mutant(
        family="deepseek_v2", layout="tp2/ep2", patch=item(GIVES, "experts_sum", shared_part_twice)
    ),
    "vocabulary gathered in reverse": Mutant(
        family="llama", layout="tp2", patch=item(TAKES, "logits_gather", logits_reversed)
    ),
    "window ignored": Mutant(
        family="gpt_oss", layout="dp2/ep2", patch=attribute(MicroBatch, "mask_B1SP", mask_without_window)
    ),
    "window one token too wide": Mutant(
        family="gpt_oss", layout="dp2/ep2", patch=attribute(MicroBatch, "mask_B1SP", window_of_one_more)
    ),
    "padding attended to": Mutant(
        family="llama", layout="pp2", patch=attribute(MicroBatch, "mask_B1SP", mask_with_padding)
    ),
    "positions start over in every step": Mutant(
        family="llama", layout="pp2", patch=attribute(MicroBatch, "positions_BS", positions_from_zero)
    ),
    "micro-batches share a cache": Mutant(
        family="qwen3", layout="pp2", patch=attribute(perform, "Player", OneCache), caught="size|shape"
    ),
    "tokens of a slice dispatched twice": Mutant(
        family="mixtral",
        layout="tp2/ep2",
        patch=attribute(_State, "_bounds", all_tokens),
        caught="logits differ.*bytes of collectives differ from the graph: rank 0.*'dispatch'",
    ),
    "tokens sent to the next slot": Mutant(
        family="qwen3_moe", layout="dp3/ep3", patch=attribute(exchange, "choose_slots", next_slot)
    ),
    "tokens sent to every copy of an expert": Mutant(
        family="olmoe",
        layout="dp2+ep2.edp2",
        patch=attribute(exchange, "_serves", all_sets_serve),
        caught="logits differ.*bytes of collectives differ from the graph: rank 0.*'dispatch'",
    ),
    "combine without weights": Mutant(
        family="deepseek_v2", layout="dp2/ep2", patch=attribute(program, "combine", combine_without_weights)
    ),
    "weights of the other choice": Mutant(
        family="gpt_oss", layout="dp2+ep2", patch=attribute(program, "combine", combine_by_last_choice)
    ),
    "right rows at twice the bytes": Mutant(
        family="mixtral",
        layout="dp2/ep2",
        patch=attribute(program, "dispatch", dispatch_in_double),
        caught="^bytes of collectives differ from the graph: rank 0, step 0, micro-batch 0: .*'dispatch'",
    ),
}
