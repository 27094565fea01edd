"""Dispatch and combine: every row reaches the expert it chose and comes back, whatever is empty or hot."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shardwright.layout.notation import parse_layout
from shardwright.layout.placement import linear_placement
from shardwright.run.exchange import choose_slots, combine, dispatch, plan_route
from shardwright.run.in_process import play
from shardwright.run.network import Program, Request
from shardwright.run.seat import Seat, Seats
from tests.samples import SMALL_MOE

EXCHANGES = [
    "dp2/ep2",
    "dp3/ep3",
    "dp5/ep5",
    "dp8/ep8",
    "dp4/ep2.edp2",
    "dp12/ep12.r4",
    "dp4/ep4.r2",
    "tp2.dp2/ep2.etp2",
    "dp2+ep3",
    "dp3+ep2.edp2.r3",
    "tp2.dp2+ep5",
    "dp2+ep2.etp2",
    "dp2.pp2+ep3.shared",
]
"""8 experts: a whole number a rank, or not; folded or on ranks without tokens; replicas; two lanes."""

TOP_K, HIDDEN = 3, 4


def seats_of(layout: str) -> Seats:
    split = parse_layout(layout)
    return Seats(model=SMALL_MOE, layout=split, stage_layers=(4 // split.pp,) * split.pp)


@st.composite
def routings(draw: st.DrawFn) -> tuple[Seats, dict[int, Tensor]]:
    """Seats, and the experts that the tokens of each attention rank choose: no tokens, or one hot expert."""
    seats = seats_of(draw(st.sampled_from(EXCHANGES)))
    hot = draw(st.none() | st.integers(0, 7))
    chosen = st.permutations(range(8)).map(lambda order: order[:TOP_K])
    ids = {}
    for rank in range(seats.layout.num_gpus):
        rows = draw(st.lists(chosen, max_size=5)) if seats.seat(rank).place.dp is not None else []
        if hot is not None:
            rows = [[hot, *(e for e in row if e != hot)][:TOP_K] for row in rows]
        ids[rank] = torch.tensor(rows, dtype=torch.long).view(len(rows), TOP_K)
    return seats, ids


@given(routed=routings())
def test_every_row_reaches_the_expert_it_chose_and_comes_back_weighted(
    routed: tuple[Seats, dict[int, Tensor]],
) -> None:
    """Experts multiply by their number; the oracle has no ranks. Lanes of an expert give a part each."""
    seats, ids = routed
    generator = torch.Generator().manual_seed(0)
    rows = {rank: torch.randn(len(chosen), HIDDEN, generator=generator) for rank, chosen in ids.items()}
    weights = {rank: torch.rand(len(chosen), TOP_K, generator=generator) for rank, chosen in ids.items()}
    back: dict[int, Tensor] = {}
    placement = seats.placement
    assert placement is not None
    own_lanes = 1 if seats.layout.home == "folded" else seats.layout.etp

    def program(seat: Seat) -> Program:
        rank, stage = seat.rank, seat.stages[0]
        route = yield from plan_route(seat, stage, 0, ids[rank])
        came = yield from dispatch(route, 0, rows[rank])
        assert came.shape[0] == len(route.local_slots) == sum(route.takes)
        slots = [seat.slots[local] for local in route.local_slots.tolist()]
        factors = torch.tensor([placement.experts[slot] + 1.0 for slot in slots]).view(-1, 1)
        back[rank] = yield from combine(route, 0, came * factors / own_lanes, weights[rank])

    # Shared expert ranks serve a stage after another: here the first.
    ranks = [seats.seat(r) for r in range(seats.layout.num_gpus) if seats.seat(r).stages[0] == 0]
    play({(seat.rank, 0): program(seat) for seat in ranks})
    for seat in ranks:
        rank = seat.rank
        expected = rows[rank] * (weights[rank] * (ids[rank] + 1)).sum(1, keepdim=True)
        torch.testing.assert_close(back[rank], expected, rtol=1e-5, atol=1e-5)


@given(routed=routings())
def test_identity_experts_give_every_token_back(routed: tuple[Seats, dict[int, Tensor]]) -> None:
    """Probabilities of 1/K: combine(dispatch(x)) is x (Megatron-LM, test_token_dispatcher.py)."""
    seats, ids = routed
    recorded: list[tuple[int, Request]] = []
    own_lanes = 1 if seats.layout.home == "folded" else seats.layout.etp

    def program(seat: Seat) -> Program:
        chosen = ids[seat.rank]
        sent = torch.full((len(chosen), HIDDEN), float(seat.rank + 1))
        route = yield from plan_route(seat, seat.stages[0], 0, chosen)
        came = yield from dispatch(route, 0, sent)
        senders = torch.tensor(route.group).repeat_interleave(torch.tensor(route.takes))
        assert torch.equal(came[:, 0], senders + 1.0)
        back = yield from combine(route, 0, came, torch.full(chosen.shape, 1 / TOP_K / own_lanes))
        torch.testing.assert_close(back, sent, rtol=1e-6, atol=0)

    ranks = [seats.seat(r) for r in range(seats.layout.num_gpus) if seats.seat(r).stages[0] == 0]
    play(
        {(seat.rank, 0): program(seat) for seat in ranks},
        lambda key, request: recorded.append((key[0], request)),
    )
    sent_rows = sum(len(r.tensor) for _, r in recorded if r.name == "dispatch")
    assert sent_rows == sum(len(r.tensor) for _, r in recorded if r.name == "combine")
    if recorded:
        attending = [seat.rank for seat in ranks if seat.place.dp is not None]
        assert sent_rows == sum(len(ids[rank]) for rank in attending) * TOP_K * own_lanes


@given(
    ids=st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=2, unique=True), max_size=20),
    redundant=st.integers(0, 12),
)
def test_replicas_take_turns(ids: list[list[int]], redundant: int) -> None:
    placement = linear_placement(5, 3, redundant)
    chosen = torch.tensor(ids, dtype=torch.long).view(len(ids), 2)
    slots = choose_slots(chosen, placement)
    held = torch.tensor(placement.experts)[slots]
    assert torch.equal(held, chosen)
    for expert in range(5):
        loads = [int((slots == slot).sum()) for slot in placement.replicas(expert)]
        assert max(loads) - min(loads) <= 1
