"""Timelines against closed forms, against bounds, and against times worked out by hand."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.dag.chain import Chain, Post
from shardwright.dag.path import lower_bound_s
from shardwright.dag.schedule import Order, Schedule
from shardwright.dag.timeline import Slice, Timeline, simulate
from shardwright.engine.engine import Hides
from tests.dag.cases import Case, cases
from tests.dag.hand import collective, compute, graph_of, pipeline, stage_workers, transfer

FEW = settings(max_examples=30, deadline=None)


@FEW
@given(cases())
def test_serial_is_the_closed_form(case: Case) -> None:
    timeline = case.play(Schedule(order="serial"))
    assert timeline.makespan_s == pytest.approx(case.micro_batches * float(case.cost.pass_s), rel=1e-9)


@FEW
@given(cases(("folded", "per_stage")))
def test_pipelined_from_empty_is_a_pass_and_the_slowest_stage_for_each_other(case: Case) -> None:
    timeline, cost = case.play(Schedule(order="pipelined")), case.cost
    closed_s = float(cost.pass_s) + (case.micro_batches - 1) * float(cost.slowest_stage_s)
    assert timeline.makespan_s == pytest.approx(closed_s, rel=1e-9)


@FEW
@given(cases(("folded", "per_stage")))
def test_pipelined_decode_settles_at_the_closed_cycle(case: Case) -> None:
    step = case.steady(Schedule(order="pipelined"))
    assert step.step_s == pytest.approx(float(case.cost.cycle_s), rel=1e-9)


@FEW
@given(cases(), st.sampled_from(["serial", "pipelined", "overlapped"]), st.booleans(), st.integers(1, 2))
def test_no_schedule_beats_the_bound_or_breaks_the_order(
    case: Case, order: Order, batched: bool, num_steps: int
) -> None:
    timeline = case.play(Schedule(order=order, batched=batched), num_steps)
    assert len(timeline.slices) == len(timeline.graph.nodes)
    assert timeline.makespan_s >= lower_bound_s(timeline.graph) * (1 - 1e-9)
    check_order(timeline, one_engine=timeline.schedule.order != "overlapped")


def check_order(timeline: Timeline, *, one_engine: bool) -> None:
    """All before a slice have ended, it is as long as its node at least, and alone on its engine."""
    slices, graph = timeline.slices, timeline.graph
    engines: dict[tuple[int, str], list[Slice]] = {}
    for piece in slices:
        node = piece.node
        assert piece is slices[node.number]
        assert all(slices[number].end_s <= piece.start_s + 1e-12 for number in graph.before(node))
        assert piece.end_s - piece.start_s >= node.seconds * (1 - 1e-9) - 1e-15
        if node.meets is not None:
            other = slices[node.meets]
            assert (piece.start_s, piece.end_s) == (other.start_s, other.end_s)
        engines.setdefault((node.worker, "one" if one_engine else piece.engine), []).append(piece)
    for held in engines.values():
        held.sort(key=lambda piece: (piece.start_s, piece.end_s))
        assert all(one.end_s <= two.start_s + 1e-12 for one, two in pairwise(held))


@FEW
@given(cases(), st.sampled_from(["all", "exchanges"]), st.integers(1, 3))
def test_overlap_is_never_above_the_others_nor_below_the_bound(
    case: Case, hides: Hides, num_steps: int
) -> None:
    """Where greedy loses, the better one is kept, and said."""
    serial, pipelined, overlapped = (
        case.play(Schedule(order=order, hides=hides), num_steps)
        for order in ("serial", "pipelined", "overlapped")
    )
    assert overlapped.makespan_s <= min(serial.makespan_s, pipelined.makespan_s)
    assert overlapped.makespan_s >= lower_bound_s(overlapped.graph) * (1 - 1e-9)
    if overlapped.schedule.order != "overlapped":
        assert overlapped.makespan_s == min(serial.makespan_s, pipelined.makespan_s)


@FEW
@given(cases(), st.integers(1, 3))
def test_no_overlap_takes_less_than_the_floor_of_its_cost(case: Case, num_steps: int) -> None:
    timeline = case.play(Schedule(order="overlapped"), num_steps)
    assert timeline.makespan_s >= num_steps * float(case.cost.floor_s) * (1 - 1e-9)


@FEW
@given(cases())
def test_a_steady_step_is_one_of_many(case: Case) -> None:
    schedule = Schedule(order="overlapped", micro_batches=case.micro_batches)
    many, step = case.steps(schedule, 16), case.steady(schedule)
    assert step.step_s == pytest.approx((many.mean_end_s(13) - many.mean_end_s(5)) / 8, rel=0.05)


def test_only_what_the_schedule_hides_goes_on_beside_computing() -> None:
    """A sum of 2 s and computing of 4 s of two micro-batches: beside each other, or one after the other."""
    (worker,) = stage_workers(1)
    chains = [
        Chain(worker, 0, 0, 0, (Post(collective(), 0, (0,)),)),
        Chain(worker, 0, 0, 1, (Post(compute(), 1, (0,)),)),
    ]
    ends = []
    for hides in ("all", "exchanges"):
        schedule = Schedule(order="overlapped", micro_batches=2, hides=hides)
        ends.append(simulate(graph_of((worker,), chains, SECONDS), schedule, lambda _: "near").makespan_s)
    assert ends == [4, 6]


SECONDS = {"compute": 4.0, "late": 1.0, "sum": 2.0, "long": 6.0, "send_stage": 3.0, "receive_stage": 0.0}


def spans(timeline: Timeline, name: str) -> list[tuple[float, float]]:
    return [(p.start_s, p.end_s) for p in timeline.slices if p.node.operation.name == name]


@pytest.mark.parametrize(("tier", "end_s"), [("far", (5, 6)), ("near", (3, 4))], ids=["same", "other"])
def test_a_copy_and_a_collective_share_a_tier(tier: str, end_s: tuple[int, int]) -> None:
    """A sum of 3 s from 0 on, a send of 3 s from 1 on.

    Of one tier, both are at half speed from 1 to 5, when the sum is done; 1 s of the send is left.
    """
    first, second = stage_workers(2)
    chains = [
        Chain(first, 0, 0, 0, (Post(compute("late"), 0, (0,)), Post(transfer(sends=True), 0, (0, 1)))),
        Chain(second, 1, 0, 0, (Post(transfer(sends=False), 0, (0, 1)),)),
        Chain(first, 0, 0, 1, (Post(collective(), 1, (0,)),)),
        Chain(second, 1, 0, 1, (Post(compute(), 1, (1,)),)),
    ]
    schedule = Schedule(order="overlapped", micro_batches=4)
    played = simulate(
        graph_of((first, second), chains, SECONDS | {"sum": 3.0}),
        schedule,
        lambda operation: tier if operation.name == "send_stage" else "far",
    )
    assert spans(played, "sum") == [(0, end_s[0])]
    assert spans(played, "send_stage") == [(1, end_s[1])]


def test_interference_slows_computing_while_a_collective_goes_on() -> None:
    """6 s of computing beside 2 s of a sum: 2 s at 3/4 of its speed, 4.5 s more; the sum is not slowed."""
    (worker,) = stage_workers(1)
    chains = [
        Chain(worker, 0, 0, 0, (Post(compute("long"), 0, (0,)),)),
        Chain(worker, 0, 0, 1, (Post(collective(), 1, (0,)),)),
    ]
    schedule = Schedule(order="overlapped", micro_batches=2, interference=0.25)
    played = simulate(graph_of((worker,), chains, SECONDS), schedule, lambda _: "near")
    assert spans(played, "long") == [(0, 6.5)] and spans(played, "sum") == [(0, 2)]


def test_slowed_computing_is_shared_out_among_its_operations() -> None:
    """Two operations of 4 s and 1 s in a run; the first loses half of 2 s."""
    (worker,) = stage_workers(1)
    run = (Post(compute(), 0, (0,)), Post(compute("late"), 0, (0,)))
    chains = [Chain(worker, 0, 0, 0, run), Chain(worker, 0, 0, 1, (Post(collective(), 1, (0,)),))]
    schedule = Schedule(order="overlapped", micro_batches=2, interference=0.5)
    played = simulate(graph_of((worker,), chains, SECONDS), schedule, lambda _: "near")
    assert spans(played, "compute") == [(0, 5)] and spans(played, "late") == [(5, 6)]


@given(st.integers(1, 4), st.integers(1, 6), st.integers(2, 4))
def test_two_plays_are_equal(num_stages: int, micro_batches: int, num_steps: int) -> None:
    chains = pipeline(num_stages, micro_batches, num_steps, (compute(), collective(), compute("late")))
    graph = graph_of(stage_workers(num_stages), chains, SECONDS)
    schedule = Schedule(order="overlapped", micro_batches=micro_batches)
    one, two = (simulate(graph, schedule, lambda _: "near") for _ in range(2))
    assert one.slices == two.slices
