"""Idle time against the formulas of pipelines and of ping-pong."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.dag.idle import TimeSpent, communication_share, exposed_share, mean, time_spent
from shardwright.dag.schedule import Order, Schedule
from shardwright.dag.timeline import Timeline, simulate
from tests.dag.cases import Case, cases
from tests.dag.hand import apart_workers, collective, compute, graph_of, ping_pong, pipeline, stage_workers


@settings(max_examples=20, deadline=None)
@given(
    cases(),
    st.sampled_from(["serial", "pipelined", "overlapped"]),
    st.floats(0, 0.5),
    st.floats(0.6, 1),
)
def test_shares_add_up(case: Case, order: Order, begin: float, end: float) -> None:
    timeline = case.play(Schedule(order=order), num_steps=2)
    for window in ((0.0, timeline.makespan_s), (begin * timeline.makespan_s, end * timeline.makespan_s)):
        for one in time_spent(timeline, *window):
            parts = (one.computing_s, one.communication_s, one.peer_s, one.bubble_s)
            assert min(parts) >= 0 and one.total_s == pytest.approx(window[1] - window[0], rel=1e-12)
            assert sum(parts) == pytest.approx(one.total_s, rel=1e-12)
            assert one.hidden_s >= -1e-12 and one.busy_s["compute"] == one.computing_s
            if order != "overlapped":
                assert one.hidden_s == pytest.approx(0, abs=1e-12)
            if case.layout.home == "folded":
                assert one.peer_s == pytest.approx(0, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(cases())
def test_busy_seconds_are_those_of_the_slices(case: Case) -> None:
    timeline = case.play(Schedule(order="overlapped"))
    for one in time_spent(timeline):
        for engine, seconds in one.busy_s.items():
            own = [
                piece.end_s - piece.start_s
                for piece in timeline.slices
                if piece.node.worker == one.worker.number and piece.engine == engine
            ]
            assert seconds == pytest.approx(sum(own), rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(cases(("folded",)))
def test_one_stage_in_turn_exposes_the_communication_of_its_cost(case: Case) -> None:
    alone = Case(case.model, case.engine, case.layout.model_copy(update={"pp": 1}), case.sequences, 2)
    spent, share = time_spent(alone.play(Schedule())), float(alone.cost.communication_fraction)
    assert communication_share(spent) == pytest.approx(share, rel=1e-9)
    assert exposed_share(spent) == pytest.approx(share, rel=1e-9)


FREE = {"compute": 1.0, "send_stage": 0.0, "receive_stage": 0.0}


@pytest.mark.parametrize("order", ["pipelined", "overlapped"])
@given(p=st.integers(1, 6), m=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_equal_stages_from_empty(order: Order, p: int, m: int) -> None:
    """GPipe (arXiv 1811.06965, section 2.3): (p - 1) / (m + p - 1) of the time is bubble."""
    graph = graph_of(stage_workers(p), pipeline(p, m, 1), FREE)
    timeline = simulate(graph, Schedule(order=order, micro_batches=m), lambda _: "near")
    assert timeline.makespan_s == m + p - 1
    for one in time_spent(timeline):
        assert one.bubble_s / one.total_s == pytest.approx((p - 1) / (m + p - 1), rel=1e-12, abs=1e-12)
        assert one.computing_s == m


@pytest.mark.parametrize("order", ["pipelined", "overlapped"])
@given(p=st.integers(1, 6), m=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_equal_stages_in_steady_decode(order: Order, p: int, m: int) -> None:
    """Of p stages, m are busy at any time."""
    graph = graph_of(stage_workers(p), pipeline(p, m, 5), FREE)
    timeline = simulate(graph, Schedule(order=order, micro_batches=m), lambda _: "near")
    for one in time_spent(timeline, timeline.step_end_s(1), timeline.step_end_s(2)):
        assert one.total_s == max(p, m)
        assert one.bubble_s / one.total_s == pytest.approx(max(0, 1 - m / p), rel=1e-12, abs=1e-12)


def test_exposed_and_hidden_communication_by_hand() -> None:
    """Two micro-batches of 2 s computing, 2 s sum: computing 0-4, sums 2-6; 2 s exposed, 2 s hidden."""
    graph = graph_of(
        stage_workers(1), pipeline(1, 2, 1, (compute(), collective())), {"compute": 2.0, "sum": 2.0}
    )
    timeline = simulate(graph, Schedule(order="overlapped", micro_batches=2), lambda _: "near")
    (one,) = time_spent(timeline)
    assert (one.computing_s, one.communication_s, one.hidden_s, one.total_s) == (4, 2, 2, 6)
    assert communication_share((one,)) == pytest.approx(4 / 6)
    assert exposed_share((one,)) == pytest.approx(2 / 6)


def test_waiting_for_the_other_side_by_hand() -> None:
    """One micro-batch, one layer: attention 0-3, dispatch 3-4, experts 4-9, combine 9-10."""
    graph = graph_of(
        apart_workers(1, shared=False),
        ping_pong(1, 1, 1, 1),
        {"attention": 3.0, "experts": 5.0, "dispatch": 1.0, "combine": 1.0},
    )
    attention, experts = time_spent(simulate(graph, Schedule(order="overlapped"), lambda _: "near"))
    assert (attention.computing_s, attention.communication_s, attention.peer_s) == (3, 2, 5)
    assert (experts.computing_s, experts.communication_s, experts.peer_s) == (5, 2, 3)
    assert mean((attention, experts), lambda one: one.peer_s) == 4


def steady(
    seconds: dict[str, float], stages: int, m: int, *, shared: bool = False, num_steps: int = 8
) -> tuple[Timeline, tuple[TimeSpent, ...]]:
    """Ping-pong of 3 layers a stage, and how a cycle in its midst is spent."""
    graph = graph_of(
        apart_workers(stages, shared=shared),
        ping_pong(stages, m, num_steps, 3, shared=shared),
        seconds | {"combine": seconds["dispatch"], "send_stage": 0.0, "receive_stage": 0.0},
    )
    timeline = simulate(graph, Schedule(order="overlapped", micro_batches=m), lambda _: "near")
    middle = num_steps // 2
    return timeline, time_spent(timeline, timeline.step_end_s(middle), timeline.step_end_s(num_steps - 3))


@pytest.mark.parametrize("attention", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("experts", [0.2, 0.7, 1.0])
@pytest.mark.parametrize("part", [0.05, 0.25, 0.5])
def test_ping_pong_hides_communication_from_the_bound_on(
    attention: float, experts: float, part: float
) -> None:
    """MegaScale-Infer (arXiv 2504.02263, section 4.1), generalised to unequal sides.

    A round is Ta + Te + 2 Tc; the busier side is full once m of its shares fill a round. Dispatch and
    combine take one network engine in turn, so 2 Tc must fit in the busier side's time too.
    """
    busier = max(attention, experts)
    exchange = part * busier
    least = (attention + experts + 2 * exchange) / busier
    for m in range(1, 6):
        seconds = {"attention": attention, "experts": experts, "dispatch": exchange}
        _, spent = steady(seconds, 1, m)
        busy = max(spent, key=lambda one: one.computing_s)
        if m >= least - 1e-9:
            assert busy.computing_s == pytest.approx(busy.total_s, rel=1e-9)
            assert busy.communication_s + busy.peer_s == pytest.approx(0, abs=1e-9)
        else:
            assert busy.computing_s <= m / least * busy.total_s * (1 + 1e-9)


@pytest.mark.parametrize(
    ("attention", "experts", "exchange"),
    [(1.0, 1.0, 0.1), (1.0, 0.5, 0.2), (0.3, 1.0, 0.1), (1.0, 0.7, 0.24)],
)
def test_ping_pong_of_two_stages(attention: float, experts: float, exchange: float) -> None:
    """Each stage needs its own micro-batches: the bound holds for whole numbers of them a stage.

    In between a stage has now one more, now one fewer than the bound asks for, and waits in the latter case.
    """
    least = (attention + experts + 2 * exchange) / max(attention, experts)
    seconds = {"attention": attention, "experts": experts, "dispatch": exchange}
    for a_stage in range(math.ceil(least - 1e-9), 5):
        _, spent = steady(seconds, 2, 2 * a_stage)
        busy = max(spent, key=lambda one: one.computing_s)
        assert busy.computing_s == pytest.approx(busy.total_s, rel=1e-9)


@pytest.mark.parametrize(
    ("attention", "experts", "exchange"),
    [(1.0, 1.0, 0.1), (1.0, 0.5, 0.2), (0.3, 1.0, 0.1), (1.0, 0.7, 0.24), (0.4, 0.2, 0.1), (1.0, 1.0, 0.5)],
)
def test_ping_pong_with_experts_of_two_stages(attention: float, experts: float, exchange: float) -> None:
    """The experts serve a layer of both stages a round: busier where 2 Te > Ta.

    Less than one micro-batch above the bound all sides would have to fit without a gap: there up to 8 % of
    the busier side is idle, from the next one on none.
    """
    least = 2 * (attention + experts + 2 * exchange) / max(attention, 2 * experts)
    seconds = {"attention": attention, "experts": experts, "dispatch": exchange}
    for m in range(math.ceil(least - 1e-9), 9):
        _, spent = steady(seconds, 2, m, shared=True)
        idle = min(1 - one.computing_s / one.total_s for one in spent)
        assert idle <= (1e-9 if m >= least + 1 else 0.08)
