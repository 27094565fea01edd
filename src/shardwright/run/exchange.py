"""Dispatch and combine on tensors: rows of tokens to the expert slots they chose, and back.

Legend: N rows that a rank sends before copies (its tokens), K top-k, H hidden, R rows received,
M members of the exchange group.
"""

from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from shardwright.layout.placement import Placement
from shardwright.run.network import Request
from shardwright.run.seat import Members, Seat


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where the rows of one rank go: rows sorted by member of the group, then by slot.

    token_R: the token of each sent row; choice_R: which of its K choices; order is the order of sending.
    """

    group: Members
    gives: tuple[int, ...]
    takes: tuple[int, ...]
    token_R: Tensor
    choice_R: Tensor
    local_slots: Tensor
    """Slot, counted on this rank, of each received row."""


def choose_slots(ids_NK: Tensor, placement: Placement) -> Tensor:
    """Physical slot of each choice: an expert's replicas take its tokens in turn, and so load alike."""
    first = torch.tensor(
        [placement.replicas(e)[0] for e in range(placement.num_experts)], device=ids_NK.device
    )
    slots_NK = first[ids_NK]
    if len(placement.experts) == placement.num_experts:
        return slots_NK
    for expert in ids_NK.unique().tolist():
        replicas = torch.tensor(placement.replicas(expert), device=ids_NK.device)
        chosen = ids_NK == expert
        turn = torch.arange(int(chosen.sum()), device=ids_NK.device) % len(replicas)
        slots_NK[chosen] = replicas[turn]
    return slots_NK


def plan_route(seat: Seat, stage: int, layer: int, ids_NK: Tensor) -> Generator[Request, Tensor, Route]:
    """Sort the choices and tell every member how many rows of each of its slots will come.

    The counts are control traffic ('dispatch_counts'): 8 bytes a slot of the group, not in the graph.
    """
    placement = seat.seats.placement
    assert placement is not None
    group, owned = seat.exchange_group(stage), seat.slots_in_group(stage)
    slots_NK = choose_slots(ids_NK, placement)
    members = [member for member in range(len(group)) if owned[member] and _serves(seat, stage, member)]
    # Sent rows: for each member, in group order, the choices of its slots, slot by slot.
    flat = slots_NK.reshape(-1)
    sent, counts = [], []
    for member, slots in enumerate(owned):
        for slot in slots:
            rows = (flat == slot).nonzero().flatten() if member in members else flat[:0]
            sent.append(rows)
            counts.append(rows.numel())
    per_member = tuple(map(len, owned))
    mine = len(owned[group.index(seat.rank)])
    came = yield from _swap(
        "dispatch_counts",
        layer,
        group,
        torch.tensor(counts, dtype=torch.long, device=ids_NK.device),
        gives=per_member,
        takes=(mine,) * len(group),
    )
    came_MS = came.view(len(group), mine)
    order = torch.cat(sent) if sent else flat[:0]
    bounds = torch.tensor([0, *per_member]).cumsum(0).tolist()
    num_choices = max(1, ids_NK.shape[1])
    return Route(
        group=group,
        gives=tuple(sum(counts[a:b]) for a, b in pairwise(bounds)),
        takes=tuple(came_MS.sum(1).tolist()),
        token_R=order // num_choices,
        choice_R=order % num_choices,
        local_slots=torch.arange(mine, device=came.device)
        .repeat(len(group))
        .repeat_interleave(came_MS.reshape(-1)),
    )


def dispatch(route: Route, layer: int, rows_NH: Tensor) -> Generator[Request, Tensor, Tensor]:
    """Send each token's row to the slots it chose; the rows that came, [R, H]."""
    rows = rows_NH[route.token_R]
    return (yield from _swap("dispatch", layer, route.group, rows, gives=route.gives, takes=route.takes))


def combine(
    route: Route, layer: int, out_RH: Tensor, weights_NK: Tensor
) -> Generator[Request, Tensor, Tensor]:
    """Return the experts' rows to where they came from, and sum each token's by its weights: [N, H]."""
    back = yield from _swap("combine", layer, route.group, out_RH, gives=route.takes, takes=route.gives)
    total = torch.zeros(weights_NK.shape[0], back.shape[1], dtype=weights_NK.dtype, device=back.device)
    weighted = back.to(weights_NK.dtype) * weights_NK[route.token_R, route.choice_R][:, None]
    return total.index_add_(0, route.token_R, weighted).to(back.dtype)


def _swap(
    name: str, layer: int, group: Members, rows: Tensor, *, gives: tuple[int, ...], takes: tuple[int, ...]
) -> Generator[Request, Tensor, Tensor]:
    """All-to-all of rows; a rank alone in its group keeps them."""
    if len(group) == 1:
        return rows
    return (
        yield Request(
            kind="all_to_all",
            name=name,
            layer=layer,
            group=group,
            tensor=rows,
            gives=gives,
            takes=takes,
        )
    )


def _serves(seat: Seat, stage: int, member: int) -> bool:
    """Whether a member's expert set serves this rank: its own group when folded, one of edp sets else."""
    layout = seat.layout
    if layout.home == "folded" or seat.place.dp is None or seat.place.tp is None:
        return True
    per_set = layout.ep * layout.etp
    own_set = (seat.place.dp * layout.tp + seat.place.tp) % layout.edp
    return (member - layout.attention_ranks) // per_set == own_set
