"""The rank program bound to tensors: what each operation of steps/ does on one rank.

steps/program.py says in order what a rank does; here each operation finds its tensors. Operations that
run inside a module of transformers (projections, rope, activation) are bound to the module's last one.
Legend: B sequences, S tokens of a step, T = B x S, H hidden, K top-k, N tokens that the rank dispatches.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from transformers import DynamicCache

from shardwright.model.spec import ModelSpec
from shardwright.run.batch import MicroBatch
from shardwright.run.exchange import Route, combine, dispatch, plan_route
from shardwright.run.modules import LayerModules, RankModules
from shardwright.run.network import Program, Request
from shardwright.run.norm import SummedRmsNorm
from shardwright.run.operations import load_of, program_of
from shardwright.run.seat import Members, Seat
from shardwright.steps.operation import AllReduce, Exchange, Gather, Operation, Transfer

INSIDE_A_MODULE = frozenset(
    [
        "rope_and_cache",
        "attention",
        "latent_down",
        "query_up",
        "key_up",
        "key_value_up",
        "value_up",
        "mlp_gate_up",
        "mlp_activation",
        "shared_gate_up",
        "shared_activation",
        "router",
        "sampling",
    ]
)
"""Operations that the module of a later one performs."""


@dataclass(kw_only=True)
class Rank:
    """One rank with its modules. routed: experts chosen, by (step, micro-batch, layer), for the proof."""

    seat: Seat
    model: ModelSpec
    modules: RankModules
    device: torch.device
    dtype: torch.dtype

    def __post_init__(self) -> None:
        self.routed: dict[tuple[int, int, int], Tensor] = {}
        self.logits: dict[tuple[int, int], Tensor] = {}


def run_micro_batch(rank: Rank, batch: MicroBatch, cache: DynamicCache, *, step: int, index: int) -> Program:
    """One step of one micro-batch on one rank: the program of every stage that the rank works for."""
    for stage in rank.seat.stages:
        state = _State(rank, batch, cache, stage, (step, index))
        for operation in program_of(rank.seat, stage, load_of(*batch.shape, batch.past)):
            yield from state.perform(operation)


class _State:
    """The tensors of one rank in one stage, one step, one micro-batch."""

    def __init__(
        self, rank: Rank, batch: MicroBatch, cache: DynamicCache, stage: int, key: tuple[int, int]
    ) -> None:
        self.rank, self.seat, self.model = rank, rank.seat, rank.model
        self.batch, self.cache, self.stage, self.key = batch, cache, stage, key
        self.tp, self.etp = self.seat.layout.tp, self.seat.layout.etp
        self.layer = -1
        num_sequences, num_tokens = batch.shape
        self.x = torch.empty(
            num_sequences, num_tokens, self.model.hidden, dtype=rank.dtype, device=rank.device
        )
        self.y = self.h = self.x  # input of a block, output of a block
        self.squares = self.logits = self.rows = self.x
        self.part = self.x  # of a sum in two levels
        self.ids = self.weights = self.x
        self.joined = self.x  # which rows of the gathered slices are tokens
        self.route: Route | None = None
        self.positions: Any = None

    @property
    def parts(self) -> LayerModules:
        return self.rank.modules.layers[self.layer]

    def perform(self, operation: Operation) -> Generator[Request, Tensor, None]:
        """One operation: a kernel, a request, or nothing where a module does it later."""
        if operation.layer is not None:
            self.layer = operation.layer
        match operation:
            case AllReduce() | Gather():
                yield from self._reduce(operation)
            case Exchange():
                yield from self._exchange(operation.name)
            case Transfer():
                yield from self._transfer(sends=operation.sends)
            case _ if operation.name not in INSIDE_A_MODULE:
                KERNELS[operation.name](self)

    # --- kernels, by operation -------------------------------------------------------------------

    def embed(self) -> None:
        """Rows of the local vocabulary; tokens of other ranks give zeros, summed after."""
        table = _held(self.rank.modules.embedding)
        share = -(-self.model.vocab // self.tp)
        first = share * _held(self.seat.place.tp)
        local = self.batch.tokens_BS - first
        held = (local >= 0) & (local < table.shape[0])
        self.x = F.embedding(local.clamp(0, table.shape[0] - 1), table) * held[..., None]

    def attention_norm(self) -> None:
        self.y = _held(self.parts.input_norm)(self.x)

    def project(self) -> None:
        """Only OLMoE's norms need the projections before attention: their squares go over the group."""
        attention = _held(self.parts.attention)
        if isinstance(getattr(attention, "q_norm", None), SummedRmsNorm):
            projections = (attention.q_proj(self.y), attention.k_proj(self.y))  # type: ignore[operator]
            self.squares = torch.stack([p.float().pow(2).sum(-1) for p in projections], dim=-1)

    def attend(self) -> None:
        attention = _held(self.parts.attention)
        if self.positions is None:
            rotary = _held(self.rank.modules.rotary)
            self.positions = rotary(self.x, position_ids=self.batch.positions_BS())
        window = self.model.layer_shapes[self.layer].window
        self.h, _ = attention(
            self.y,
            position_embeddings=self.positions,
            attention_mask=self.batch.mask_B1SP(self.rank.dtype, window),
            past_key_values=self.cache,
        )

    def mlp_norm(self) -> None:
        self.y = _held(self.parts.mlp_norm)(self.x)

    def dense_mlp(self) -> None:
        self.h = _held(self.parts.mlp)(self.y)

    def choose_experts(self) -> None:
        """Router and top-k, on every rank that holds the token; the group's ranks choose alike."""
        y_TH = self.y.reshape(-1, self.model.hidden)
        _, self.weights, self.ids = _held(self.parts.router)(y_TH)
        self.rows = y_TH
        self.h = torch.zeros_like(y_TH)
        if self.seat.place.tp == 0:
            self.rank.routed[(*self.key, self.layer)] = self.ids

    def shared_experts(self) -> None:
        """Partial sums over tp, added to the routed ones before both are summed."""
        self.h = _held(self.parts.shared)(self.y).reshape(-1, self.model.hidden)

    def experts(self) -> None:
        route = _held(self.route)
        module = _held(self.parts.experts)
        if self.rows.shape[0]:
            ones = torch.ones(self.rows.shape[0], 1, dtype=self.rows.dtype, device=self.rows.device)
            self.rows = module(self.rows, route.local_slots[:, None], ones)

    def final_norm(self) -> None:
        """Only the last token of each sequence is sampled."""
        self.y = _held(self.rank.modules.final_norm)(self.x[:, -1])

    def head(self) -> None:
        local = F.linear(self.y, _held(self.rank.modules.head)).float()
        share = -(-self.model.vocab // self.tp)
        self.logits = F.pad(local, (0, share - local.shape[-1]))

    # --- requests --------------------------------------------------------------------------------

    def _reduce(self, operation: AllReduce | Gather) -> Generator[Request, Tensor, None]:
        """A collective over a TP group or over lanes. The three of a sum in two levels hand on `part`."""
        axis, summing = operation.axis, isinstance(operation, AllReduce)
        group = GROUPS[axis](self.seat)
        if operation.name == "lane_gather" and len(group) > 1:
            yield from self._pad_to_longest(group)
        scatters = isinstance(operation, Gather) and operation.reduces
        begins = axis in ("tp", "etp") or (axis == "tp_near" and scatters)
        ends = axis in ("tp", "etp") or (axis == "tp_near" and not scatters)
        value = GIVES[operation.name](self) if begins else self.part
        if axis == "tp_near" and begins:
            value = value.flatten()
        if len(group) > 1:
            value = yield Request(
                kind="all_reduce" if summing else "reduce_scatter" if scatters else "all_gather",
                name=operation.name,
                layer=operation.layer,
                group=group,
                tensor=value.contiguous(),
            )
        if ends:
            TAKES[operation.name](self, value)
        else:
            self.part = value

    def _pad_to_longest(self, group: Members) -> Generator[Request, Tensor, None]:
        """dp ranks may hold different numbers of tokens; the gathered slices are of equal size."""
        own = torch.tensor([self.rows.shape[0]], device=self.rank.device)
        counts = yield Request(
            kind="all_gather", name="lane_sizes", layer=self.layer, group=group, tensor=own
        )
        longest = int(counts.max())
        self.rows = F.pad(self.rows, (0, 0, 0, longest - self.rows.shape[0]))
        self.joined = (torch.arange(longest, device=self.rank.device)[None] < counts[:, None]).flatten()

    def _exchange(self, name: str) -> Generator[Request, Tensor, None]:
        if name == "dispatch":
            slice_ids, slice_rows = self._own_slice()
            self.route = yield from plan_route(self.seat, self.stage, self.layer, slice_ids)
            self.rows = yield from dispatch(self.route, self.layer, slice_rows)
            return
        first, last = self._bounds()
        weights = self.weights[first:last] if self.seat.role != "experts" else _no_tokens(self)[1]
        back = yield from combine(_held(self.route), self.layer, self.rows, weights)
        if self.seat.role != "experts":
            self.rows = back

    def _transfer(self, *, sends: bool) -> Generator[Request, Tensor, None]:
        before, after = self.seat.neighbours
        here = self.seat.rank
        if sends:
            yield Request(
                kind="send",
                name="stage",
                layer=None,
                group=(here, _held(after)),
                tensor=self.x.contiguous(),
            )
        else:
            self.x = yield Request(
                kind="receive", name="stage", layer=None, group=(_held(before), here), tensor=self.x
            )

    def _bounds(self) -> tuple[int, int]:
        """The tokens that this rank of its TP group dispatches: a slice each etp ranks share, or all."""
        if self.seat.role == "experts":
            return 0, 0
        lanes = self.etp if self.seat.layout.home == "folded" else 1
        num_slices = max(1, self.tp // lanes)
        share = -(-self.rows_before.shape[0] // num_slices)
        index = _held(self.seat.place.tp) // lanes if num_slices > 1 else 0
        return min(index * share, self.rows_before.shape[0]), min(
            (index + 1) * share, self.rows_before.shape[0]
        )

    def _own_slice(self) -> tuple[Tensor, Tensor]:
        if self.seat.role == "experts":
            return _no_tokens(self)[0], self.x.new_empty(0, self.model.hidden)
        self.rows_before = self.rows
        first, last = self._bounds()
        return self.ids[first:last], self.rows[first:last]

    def merge_experts(self) -> Tensor:
        """This rank's routed rows at their place among the group's tokens, plus its shared-expert part."""
        first, last = self._bounds()
        merged = torch.zeros_like(self.rows_before)
        merged[first:last] = self.rows
        return merged

    def gather_lanes(self, value: Tensor) -> None:
        """The tokens of the joined dp ranks; the router runs on them again, and chooses as it did there."""
        if len(self.seat.lanes) > 1:
            self.rows = value[self.joined]
            _, self.weights, self.ids = _held(self.parts.router)(self.rows)

    def spread_lanes(self) -> Tensor:
        """The joined tokens at their places among the padded slices of the lanes."""
        if len(self.seat.lanes) <= 1:
            return self.rows
        padded = self.rows.new_zeros(self.joined.shape[0], self.rows.shape[1])
        padded[self.joined] = self.rows
        return padded

    def add_block(self, value: Tensor) -> None:
        self.x = self.x + value.view_as(self.x)

    def set_squares(self, value: Tensor) -> None:
        attention = _held(self.parts.attention)
        attention.q_norm.squares, attention.k_norm.squares = value[..., :1], value[..., 1:]  # type: ignore

    def take_logits(self, value: Tensor) -> None:
        num_sequences = self.batch.shape[0]
        gathered = value.view(-1, num_sequences, value.shape[-1]).permute(1, 0, 2)
        self.rank.logits[self.key] = gathered.reshape(num_sequences, -1)[:, : self.model.vocab]

    def scatter_lanes(self, value: Tensor) -> None:
        """Back to the rank's own tokens, summed over the joined lanes, without padding."""
        if len(self.seat.lanes) > 1:
            self.rows = self.rows_before = value[: self.h.shape[0]]

    def set_embedded(self, value: Tensor) -> None:
        self.x = value.view_as(self.x)


def _no_tokens(state: _State) -> tuple[Tensor, Tensor]:
    """Choices and weights of a rank that has experts but no tokens."""
    experts = _held(state.model.experts)
    empty = torch.empty(0, experts.top_k, device=state.rank.device)
    return empty.long(), empty.to(state.rank.dtype)


def _held(value: Any) -> Any:
    """The value, which the rank's role says is there."""
    assert value is not None
    return value


KERNELS: dict[str, Callable[[_State], None]] = {
    "embedding": _State.embed,
    "attention_norm": _State.attention_norm,
    "qkv": _State.project,
    "attention_output": _State.attend,
    "mlp_norm": _State.mlp_norm,
    "mlp_down": _State.dense_mlp,
    "top_k": _State.choose_experts,
    "shared_down": _State.shared_experts,
    "experts": _State.experts,
    "final_norm": _State.final_norm,
    "head": _State.head,
}
"""Operation -> what it does on this rank's tensors."""

GROUPS: dict[str, Callable[[Seat], Members]] = {
    "tp": lambda seat: seat.tp_group,
    "tp_near": lambda seat: seat.near_group,
    "tp_far": lambda seat: seat.far_group,
    "etp": lambda seat: seat.lanes,
}
"""Axis of a collective -> the ranks that this one does it with."""

GIVES: dict[str, Callable[[_State], Tensor]] = {
    "embedding_sum": lambda state: state.x,
    "qk_norm_sum": lambda state: state.squares,
    "attention_sum": lambda state: state.h,
    "mlp_sum": lambda state: state.h,
    "experts_sum": lambda state: state.h + state.merge_experts(),
    "lane_gather": lambda state: state.rows,
    "lane_scatter": _State.spread_lanes,
    "logits_gather": lambda state: state.logits,
}
"""Collective -> the tensor that goes in."""

TAKES: dict[str, Callable[[_State, Tensor], None]] = {
    "embedding_sum": _State.set_embedded,
    "qk_norm_sum": _State.set_squares,
    "attention_sum": _State.add_block,
    "mlp_sum": _State.add_block,
    "experts_sum": _State.add_block,
    "lane_gather": _State.gather_lanes,
    "lane_scatter": _State.scatter_lanes,
    "logits_gather": _State.take_logits,
}
"""Collective -> where its result goes."""
