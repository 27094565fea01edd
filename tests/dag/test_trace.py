"""The trace holds the timeline: every slice, where and when, and arrows between those that talk."""

import itertools
import json
from collections import Counter, defaultdict

import pytest

from shardwright.dag.timeline import ENGINES
from shardwright.dag.trace import trace_events, trace_json
from shardwright.layout.grid import build_grid, groups
from shardwright.layout.notation import parse_layout
from shardwright.steps.operation import Transfer
from tests.dag.reference_timeline import APART, FOLDED, LARGE, SHARED, played

NANOSECOND_US = 1e-3


@pytest.mark.parametrize("order", ["pipelined", "overlapped"])
@pytest.mark.parametrize("layout", [FOLDED, SHARED, APART])
def test_slices_of_every_gpu_sum_to_the_timeline(layout: str, order: str) -> None:
    timeline = played(layout, order)
    traced: dict[tuple[int, str], list[dict]] = defaultdict(list)
    for event in trace_events(timeline):
        if event["ph"] == "X":
            rank, engine = divmod(event["tid"] - 1, len(ENGINES))
            assert event["pid"] == rank + 1
            traced[rank, ENGINES[engine]].append(event)
    assert {rank for rank, _ in traced} == set(range(parse_layout(layout).num_gpus))
    for worker in timeline.graph.workers:
        for engine in ENGINES:
            own = [p for p in timeline.slices if p.node.worker == worker.number and p.engine == engine]
            busy_us = sum(p.end_s - p.start_s for p in own) * 1e6
            for rank in worker.ranks:
                events = traced[rank, engine]
                assert len(events) == len(own)
                assert sum(event["dur"] for event in events) == pytest.approx(
                    busy_us, abs=NANOSECOND_US * len(own)
                )


@pytest.mark.parametrize("layout", [FOLDED, SHARED])
def test_slices_of_a_thread_never_overlap(layout: str) -> None:
    threads = defaultdict(list)
    for event in trace_events(played(layout, "overlapped")):
        if event["ph"] == "X":
            begin_ns, lasts_ns = round(event["ts"] * 1e3), round(event["dur"] * 1e3)
            threads[event["tid"]].append((begin_ns, begin_ns + lasts_ns))
    for spans in threads.values():
        spans.sort()
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize("layout", [FOLDED, SHARED, APART])
def test_every_send_is_joined_to_its_receive_on_the_same_line_of_stages(layout: str) -> None:
    timeline = played(layout)
    events = [event for event in trace_events(timeline) if event.get("cat") == "transfer"]
    begins = {event["id"]: event for event in events if event["ph"] == "s"}
    ends = {event["id"]: event for event in events if event["ph"] == "f"}
    lines = {tuple(map(int, row)) for row in groups(build_grid(parse_layout(layout)), "pp")}
    pairs = Counter((begins[number]["pid"] - 1, ends[number]["pid"] - 1) for number in begins)
    assert begins.keys() == ends.keys()
    assert pairs == dict.fromkeys(lines, 2), "once a micro-batch"
    starts = {(event["tid"], event["ts"]) for event in events if event["ph"] == "X"}
    assert {(event["tid"], event["ts"]) for event in [*begins.values(), *ends.values()]} <= starts


def test_both_sides_of_an_exchange_are_joined_in_the_direction_of_the_rows() -> None:
    timeline = played(SHARED + ".x2")
    copy_of = lambda rank: rank // 8  # noqa: E731
    is_expert = lambda rank: rank % 8 >= 4  # noqa: E731
    flows = [e for e in trace_events(timeline) if e["ph"] in "sf" and e["cat"] == "exchange"]
    meetings = sum(1 for piece in timeline.slices if piece.node.meets is not None) // 2
    assert len(flows) == 2 * meetings * 8, "8 expert GPUs, the larger side, have an arrow each"
    for begin, end in zip(flows[::2], flows[1::2], strict=True):
        assert (begin["ph"], end["ph"], begin["id"]) == ("s", "f", end["id"])
        giver, taker = begin["pid"] - 1, end["pid"] - 1
        assert copy_of(giver) == copy_of(taker)
        assert (is_expert(giver), is_expert(taker)) == (
            (False, True) if begin["name"] == "dispatch" else (True, False)
        )


def test_beyond_16_gpus_a_process_is_a_worker_with_its_ranks_counted() -> None:
    timeline = played(LARGE)
    events = trace_events(timeline)
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names == ["stage 0 attention+experts (1024 GPUs)", "stage 1 attention+experts (1024 GPUs)"]
    count = Counter(event["ph"] for event in events)
    sends = sum(isinstance(p.node.operation, Transfer) and p.node.operation.sends for p in timeline.slices)
    assert (count["X"], count["s"], count["f"]) == (len(timeline.slices), sends, sends)


def test_the_text_is_json_and_always_the_same() -> None:
    text = trace_json(played(FOLDED))
    played.cache_clear()
    assert trace_json(played(FOLDED)) == text
    slices = [event for event in json.loads(text)["traceEvents"] if event["ph"] == "X"]
    dispatch = next(event for event in slices if event["name"] == "dispatch")
    assert dispatch["args"].keys() == {"step", "micro_batch", "layer", "axis", "bytes", "flops"}
    assert dispatch["args"]["axis"] == "exchange" and dispatch["args"]["layer"] == 0
