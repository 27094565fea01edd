"""Schedules tried and kept: never slower than the plain one, never taken for less than can be noticed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.dag.schedule import Schedule
from shardwright.engine.tuning import Tuning
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.plan.deployment import Deployment, resolve
from shardwright.search.choices import choices
from shardwright.search.pool import build_pool
from shardwright.search.search import plan_for, ranked, search
from shardwright.search.timing import (
    NOTICEABLE,
    floor_step_s,
    offered,
    plain_timing,
    play,
    price_layout,
    time_layout,
)

LAYOUTS = {
    "sglang": ["dp8/ep8", "tp2.dp4/ep8", "tp8/ep8", "dp4.pp2/ep4", "tp16/etp16"],
    "any": ["dp8/ep8", "tp4.pp2/etp4", "dp4+ep4", "tp2.dp2.pp2+ep4", "dp4+ep4.shared", "tp2.pp2+ep4.shared"],
}
CASES = [(engine, text) for engine, texts in LAYOUTS.items() for text in texts]


def deployment(engine: str, batch: int = 2048, gpu: str = "H100-SXM-80GB", **fields: object) -> Deployment:
    return resolve(
        {
            "model": "allenai/OLMoE-1B-7B-0924",
            "cluster": {"gpu": gpu, "nodes": 2, "gpus_per_node": 8},
            "workload": {"batch": batch, "input_tokens": 256, "output_tokens": 512},
            "engine": engine,
            **fields,
        }
    )


def test_two_batches_pay_where_the_exchange_is_long_and_the_batch_is_large() -> None:
    """DeepSeek-V3, EP 32 over 4 nodes, by DeepEP with and without two batches: SGLang's own threshold lies
    between 64 and 128 sequences a GPU."""
    layout, kept = parse_layout("dp32/ep32"), {}
    for each in (32, 64, 128, 256):
        given = resolve(
            {
                "model": "deepseek-ai/DeepSeek-V3",
                "cluster": {"gpu": "H100-SXM-80GB", "nodes": 4, "gpus_per_node": 8},
                "workload": {"batch": 32 * each, "input_tokens": 2000, "output_tokens": 100},
                "engine": "sglang",
            }
        ).model_copy(update={"tuning": Tuning(exchange="deepep")})
        timing = time_layout(given, layout)
        kept[each] = timing.step.schedule.order
        command = build_pool(given, layout, timing).command
        assert ("--enable-two-batch-overlap" in command) == (kept[each] == "overlapped")
    assert kept == {32: "pipelined", 64: "pipelined", 128: "overlapped", 256: "overlapped"}


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(CASES), st.sampled_from([16, 200, 4096]))
def test_what_is_kept_is_the_best_of_what_is_offered(case: tuple[str, str], batch: int) -> None:
    engine, text = case
    given, layout = deployment(engine, batch), parse_layout(text)
    timing = time_layout(given, layout)
    plain_s = plain_timing(given, layout).step.step_s
    steps = [play(given, layout, schedule) for schedule in offered(given, layout)]
    best_s = min([plain_s, *(step.step_s for step in steps)])
    assert timing.step.step_s <= plain_s
    assert best_s <= timing.step.step_s * (1 + 1e-9) and timing.step.step_s * (1 - NOTICEABLE) <= best_s
    assert timing.step in timing.tried
    for step in steps:
        if step.schedule.order == "overlapped":
            assert step.step_s >= floor_step_s(given, layout, step.schedule) * 0.97
        assert 0 <= step.exposed <= step.busy <= 1 + 1e-9


@pytest.mark.parametrize(("engine", "text"), CASES)
def test_the_plain_step_is_what_the_timeline_plays(engine: str, text: str) -> None:
    given, layout = deployment(engine), parse_layout(text)
    step = plain_timing(given, layout).step
    assert step.step_s == pytest.approx(play(given, layout, step.schedule).step_s, rel=1e-9)


@pytest.mark.parametrize(
    ("engine", "gpu", "text", "num_overlapped"),
    [
        ("vllm", "H100-SXM-80GB", "dp8/ep8", 1),
        ("vllm", "H100-SXM-80GB", "tp8/ep8", 0),
        ("vllm", "H100-SXM-80GB", "dp4.pp2/ep4", 0),
        ("vllm", "MI300X-192GB", "dp8/ep8", 0),
        ("trtllm", "H100-SXM-80GB", "dp8/ep8", 0),
        ("any", "MI300X-192GB", "dp4+ep4", 4),
        ("any", "H100-SXM-80GB", "tp1", 0),
    ],
)
def test_an_engine_overlaps_only_where_it_can(engine: str, gpu: str, text: str, num_overlapped: int) -> None:
    tries = list(offered(deployment(engine, gpu=gpu), parse_layout(text)))
    assert sum(schedule.order == "overlapped" for schedule in tries) == num_overlapped


def test_our_runtime_may_sum_in_levels_over_nodes() -> None:
    assert [s for s in offered(deployment("any"), parse_layout("tp16/etp16")) if s.order == "pipelined"] == [
        Schedule(near_ranks=8)
    ]
    assert not [s for s in offered(deployment("vllm"), parse_layout("tp16/etp16")) if s.near_ranks > 1]


@pytest.mark.parametrize(
    ("engine", "text", "expected"),
    [
        ("vllm", "tp1", ()),
        ("vllm", "tp8/etp8", ("overlap",)),
        ("vllm", "tp16/etp16", ("overlap", "hierarchy")),
        ("any", "tp2.dp2.pp2/ep4", ("micro_batches", "overlap")),
        ("any", "dp4+ep4", ("overlap", "batched_exchange")),
    ],
)
def test_choices_arise_where_the_layout_has_them(engine: str, text: str, expected: tuple[str, ...]) -> None:
    given, layout = deployment(engine), parse_layout(text)
    timing = time_layout(given, layout)
    found = choices(given, layout, timing)
    assert tuple(choice.id for choice in found) == expected
    for choice in found:
        assert choice.gain_s == choice.instead_s - choice.step_s
        if choice.id == "micro_batches":
            alone = plain_timing(given, layout, 1).step.step_s
            assert choice.instead_s == pytest.approx(alone, rel=1e-9)
            assert choice.gain_s > 0
        if choice.id == "overlap":
            assert choice.offered == (engine == "any")


def test_finalists_are_played_and_say_so() -> None:
    """A layout with GPUs for experts is hoped to be better than it is: the table holds what was played."""
    given = deployment("any", cluster={"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 4})
    table, ranking = ranked(given)
    first = int(ranking.order[0])
    assert not table.unsettled[first]
    layout = table.layout(first)
    assert table.columns["tpot_s"][first] == pytest.approx(float(time_layout(given, layout).served.tpot_s))
    plan = search(given)
    assert plan.pools[0].schedule == time_layout(given, parse_layout(plan.pools[0].layout)).step.schedule


def test_hopes_are_never_below_what_can_be() -> None:
    given = deployment("any", cluster={"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 2})
    table, _ = ranked(given)
    for row in range(len(table)):
        client = time_layout(given, table.layout(row)).served
        assert table.hopes["tpot_s"][row] <= float(client.tpot_s) * 1.03
        assert table.hopes["throughput_tokens_per_s"][row] >= float(client.throughput_tokens_per_s) * 0.97


def test_the_schedule_of_a_plan_is_in_its_figures() -> None:
    layout = Layout(dp=8, ep=8)
    plan = plan_for(deployment("sglang", 8192), layout, reason="")
    pool, cost = plan.pools[0], price_layout(plan.deployment, layout)
    assert pool.schedule.order == "overlapped" and len(pool.tried) == 2
    assert pool.figures.step_s.value < float(cost.served.step_s)
    busy, exposed = pool.figures.communication_busy.value, pool.figures.communication_fraction.value
    assert exposed < busy
