"""The critical path is the makespan, without gaps; the lower bound is what it says."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.dag.path import critical_path, family_seconds, lower_bound_s
from shardwright.dag.schedule import Order, Schedule
from shardwright.dag.timeline import simulate
from tests.dag.cases import Case, cases
from tests.dag.hand import apart_workers, compute, graph_of, ping_pong, pipeline, stage_workers


@settings(max_examples=30, deadline=None)
@given(
    cases(),
    st.sampled_from(["serial", "pipelined", "overlapped"]),
    st.booleans(),
    st.sampled_from([0.0, 0.2]),
)
def test_a_path_leads_from_zero_to_the_makespan(
    case: Case, order: Order, batched: bool, interference: float
) -> None:
    timeline = case.play(Schedule(order=order, batched=batched, interference=interference), num_steps=2)
    path = critical_path(timeline)
    assert path[0].start_s == 0 and path[-1].end_s == timeline.makespan_s
    assert all(one.end_s == two.start_s for one, two in pairwise(path))
    assert len({piece.node.number for piece in path}) == len(path)
    assert sum(family_seconds(path).values()) == pytest.approx(timeline.makespan_s, rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(cases())
def test_of_a_lone_micro_batch_the_path_is_the_pass_by_family(case: Case) -> None:
    alone = Case(case.model, case.engine, case.layout, case.sequences, 1)
    families = family_seconds(critical_path(alone.play(Schedule(order="serial"))))
    expected = {family: float(seconds) for family, seconds in alone.cost.families.items() if seconds > 0}
    assert {f: s for f, s in families.items() if s > 0} == pytest.approx(expected, rel=1e-9)


def test_the_path_of_unequal_stages_goes_through_the_slow_one() -> None:
    """Stage 1 takes 3 s a micro-batch, stage 0 one: 1 + 4 x 3."""
    chains = [
        chain
        for fast, slow in zip(pipeline(2, 4, 1), pipeline(2, 4, 1, (compute("slow"),)), strict=True)
        for chain in [slow if fast.stage else fast]
    ]
    seconds = {"compute": 1.0, "slow": 3.0, "send_stage": 0.0, "receive_stage": 0.0}
    graph = graph_of(stage_workers(2), chains, seconds)
    timeline = simulate(graph, Schedule(micro_batches=4), lambda _: "near")
    names = [p.node.operation.name for p in critical_path(timeline) if p.end_s > p.start_s]
    assert names == ["compute", "slow", "slow", "slow", "slow"]
    assert timeline.makespan_s == 13 and lower_bound_s(graph) == 12


@pytest.mark.parametrize(("micro_batches", "bound_s"), [(1, 12), (2, 12), (3, 15)])
def test_the_bound_is_the_longest_chain_or_the_busiest_engine(micro_batches: int, bound_s: float) -> None:
    """One layer pass is 2.5 + 0.5 + 2.5 + 0.5 = 6 s, and 2.5 s of an engine; two layers."""
    seconds = {"attention": 2.5, "experts": 2.5, "dispatch": 0.5, "combine": 0.5}
    graph = graph_of(apart_workers(1, shared=False), ping_pong(1, micro_batches, 1, 2), seconds)
    assert lower_bound_s(graph) == bound_s
