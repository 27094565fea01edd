"""The traces hold the timeline: every node and byte, in groups that agree, and they play as it does."""

import dataclasses
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.dag.chakra.files import GROUPS_FILE, chakra_files
from shardwright.dag.chakra.schema import messages
from shardwright.dag.schedule import Schedule
from shardwright.dag.timeline import Timeline
from shardwright.engine.catalog import ENGINES
from shardwright.layout.grid import build_grid, coordinates
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.steps.operation import AllReduce, Exchange, Gather, Operation, Transfer
from tests.dag.cases import Case, cases
from tests.dag.chakra_replay import replay
from tests.dag.chakra_wire import COLLECTIVES, WireNode, frames, wire_metadata, wire_nodes
from tests.dag.reference_timeline import LARGE, played
from tests.samples import LATENT, SMALL_MOE

FEW = settings(max_examples=12, deadline=None)


@dataclass(frozen=True)
class Export:
    """A timeline, its files, and what they say."""

    timeline: Timeline = field(repr=False)
    layout: Layout
    engine: str

    @property
    def schedule(self) -> Schedule:
        return self.timeline.schedule

    @cached_property
    def files(self) -> dict[str, bytes]:
        engine = ENGINES[self.engine]
        grid = build_grid(self.layout, engine.rank_order, engine.expert_order)
        return dict(chakra_files(self.timeline, grid, {"title": "a test"}))

    @cached_property
    def traces(self) -> dict[int, list[WireNode]]:
        return {
            int(name.split(".")[1]): wire_nodes(data)
            for name, data in self.files.items()
            if name != GROUPS_FILE
        }

    @cached_property
    def groups(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = json.loads(self.files[GROUPS_FILE])
        return found

    def worker_of(self, rank: int) -> int:
        return next(worker.number for worker in self.timeline.graph.workers if rank in worker.ranks)

    def operations(self, rank: int) -> list[Operation]:
        worker = self.worker_of(rank)
        return [node.operation for node in self.timeline.graph.nodes if node.worker == worker]


@st.composite
def exports(draw: st.DrawFn) -> Export:
    case = draw(cases())
    copies = draw(st.integers(1, 2)) if case.layout.num_gpus <= 12 else 1
    layout = case.layout.model_copy(update={"copies": copies})
    case = Case(case.model, case.engine, layout, case.sequences, min(case.micro_batches, 3))
    schedule = Schedule(
        order=draw(st.sampled_from(["serial", "pipelined", "overlapped"])),
        micro_batches=case.micro_batches,
        near_ranks=draw(st.sampled_from([n for n in (1, 2) if layout.tp % n == 0])),
        batched=draw(st.booleans()),
        interference=draw(st.sampled_from([0.0, 0.25])),
        hides=draw(st.sampled_from(["all", "exchanges"])),
    )
    return Export(case.play(schedule, draw(st.integers(1, 2))), layout, case.engine)


@FEW
@given(exports())
def test_both_readers_read_the_same(export: Export) -> None:
    assert export.traces.keys() == set(range(export.layout.num_gpus))
    for rank, nodes in export.traces.items():
        data = export.files[f"step.{rank}.et"]
        assert wire_metadata(data) == {"version": "0.0.4", "title": "a test", "times": "predicted"}
        for frame, mine in zip(frames(data)[1:], nodes, strict=True):
            node = messages().node.FromString(frame)
            assert (node.id, node.name, node.start_time_micros) == (mine.id, mine.name, mine.start_us)
            assert (tuple(node.ctrl_deps), tuple(node.data_deps)) == (mine.ctrl_deps, mine.data_deps)
            values = {each.name: getattr(each, each.WhichOneof("value")) for each in node.attr}
            assert (values, node.duration_micros) == (mine.attr, mine.lasts_us)


@FEW
@given(exports())
def test_every_rank_has_the_nodes_and_the_bytes_of_its_worker(export: Export) -> None:
    for rank, nodes in export.traces.items():
        operations, work = export.operations(rank), [node for node in nodes if not node.is_signal]
        assert sorted(node.name for node in work) == sorted(each.name for each in operations)
        assert all(node.attr["is_cpu_op"] is False for node in nodes)
        said, due = Counter[str](), Counter[str]()
        for node in work:
            if node.kind == "comp":
                said["flops"] += node.attr["num_ops"]
                said["bytes"] += node.attr["tensor_size"]
            else:
                kind = COLLECTIVES[node.attr["comm_type"]] if node.kind == "coll" else node.kind
                said[kind] += node.attr["comm_size"]
        for operation in operations:
            match operation:
                case AllReduce(payload_bytes=size):
                    due["ALL_REDUCE"] += round(size)
                case Gather(reduces=True, payload_bytes=size):
                    due["REDUCE_SCATTER"] += round(size)
                case Gather(payload_bytes=size, num_ranks=num_ranks):
                    due["ALL_GATHER"] += round(size / num_ranks)
                case Exchange(payload_bytes=size):
                    due["ALL_TO_ALL"] += round(size)
                case Transfer(payload_bytes=size, sends=sends):
                    due["send" if sends else "recv"] += round(size)
                case _:
                    due["flops"] += round(operation.flops)
                    due["bytes"] += round(operation.bytes)
        assert +said == +due


@FEW
@given(exports())
def test_groups_hold_their_ranks_which_do_the_same_on_them(export: Export) -> None:
    done: dict[tuple[int, str], list[tuple[object, ...]]] = defaultdict(list)
    for rank, nodes in export.traces.items():
        for node in nodes:
            if node.kind == "coll":
                group = node.attr["pg_name"]
                assert rank in export.groups[group]
                what = (node.name, node.attr["comm_type"], node.attr["comm_size"], node.attr.get("layer"))
                done[rank, group].append((*what, node.attr["step"], node.attr.get("micro_batch")))
    assert "0" not in export.groups
    for (_, group), sequence in done.items():
        assert all(done[other, group] == sequence for other in export.groups[group])


@FEW
@given(exports())
def test_groups_are_as_large_as_their_collectives_and_of_one_place(export: Export) -> None:
    sizes = {
        (operation.name, operation.axis, int(operation.num_ranks))
        for operation in (node.operation for node in export.timeline.graph.nodes)
        if isinstance(operation, AllReduce | Gather | Exchange)
    }
    engine = ENGINES[export.engine]
    grid = build_grid(export.layout, engine.rank_order, engine.expert_order)
    places = {rank: coordinates(grid, rank) for rank in export.traces}
    for nodes in export.traces.values():
        for node in nodes:
            if node.kind == "coll":
                members = export.groups[node.attr["pg_name"]]
                assert (node.name, node.attr["axis"], len(members)) in sizes
                held = [places[rank] for rank in members]
                assert len({place.copy for place in held}) == 1
                assert {place.stage for place in held} <= {node.attr["stage"], None}
                if node.attr["axis"].startswith("tp"):
                    assert len({place.dp for place in held}) == 1
                if node.attr["axis"] in ("dp", "etp"):
                    assert len({place.tp for place in held}) == 1


@FEW
@given(exports())
def test_every_send_has_one_receive(export: Export) -> None:
    sides: dict[str, Counter[tuple[object, ...]]] = {"send": Counter(), "recv": Counter()}
    tags: dict[int, set[tuple[object, ...]]] = defaultdict(set)
    engine = ENGINES[export.engine]
    grid = build_grid(export.layout, engine.rank_order, engine.expert_order)
    for rank, nodes in export.traces.items():
        for node in nodes:
            if node.kind in sides:
                source, target, tag = (node.attr[f"comm_{end}"] for end in ("src", "dst", "tag"))
                sides[node.kind][source, target, tag, node.attr["comm_size"]] += 1
                assert rank == (source if node.kind == "send" else target)
                here, there = coordinates(grid, source), coordinates(grid, target)
                assert (here.copy, here.dp, here.tp) == (there.copy, there.dp, there.tp)
                if node.kind == "send" and not node.is_signal:
                    assert there.stage == here.stage + 1
                    at = (node.attr["step"], node.attr["micro_batch"], here.stage, here.copy)
                    tags[tag].add(at)
    assert sides["send"] == sides["recv"] and set(sides["send"].values()) <= {1}
    assert all(len(at) == 1 for at in tags.values())
    assert len(tags) == len({each for at in tags.values() for each in at})


@FEW
@given(exports())
def test_nodes_stand_after_all_that_they_wait_for(export: Export) -> None:
    for nodes in export.traces.values():
        seen: set[int] = set()
        for node in nodes:
            assert set(node.deps) <= seen and node.id not in seen
            assert not set(node.ctrl_deps) & set(node.data_deps)
            seen.add(node.id)


@FEW
@given(exports())
def test_played_again_every_node_begins_when_the_timeline_says(export: Export) -> None:
    found = replay(export.traces, export.groups)
    for rank, nodes in export.traces.items():
        for node in nodes:
            begins_us = found.starts_us[rank, node.id]
            if node.is_signal and node.kind == "recv":
                assert begins_us <= node.start_us, "stated as late as it is needed"
            else:
                assert begins_us == node.start_us
    assert found.makespan_us == round(export.timeline.makespan_s * 1e6)


@FEW
@given(exports())
def test_one_network_unit_a_rank_does_not_deadlock(export: Export) -> None:
    found = replay(export.traces, export.groups, one_network=True)
    if export.schedule.order != "overlapped":
        assert found.makespan_us == round(export.timeline.makespan_s * 1e6)


def test_one_network_unit_serves_experts_that_stages_share() -> None:
    """Deadlocks where a receive, or a collective, may begin before a copy that ended before it."""
    layout = parse_layout("tp2.pp2+ep4.shared")
    schedule = Schedule(order="overlapped", micro_batches=4)
    timeline = Case(SMALL_MOE, "shardwright", layout, 16, 4).play(schedule, 2)
    export = Export(timeline, layout, "shardwright")
    found = replay(export.traces, export.groups, one_network=True)
    assert found.makespan_us < 1.3e6 * export.timeline.makespan_s


def reference(text: str, order: str = "pipelined", **more: object) -> Export:
    timeline = played(text, order, **more)  # type: ignore[arg-type]
    return Export(timeline, parse_layout(text), "shardwright")


def test_groups_of_the_document_by_hand() -> None:
    """Attention on 0-1 and 2-3, experts of both stages on 4-7."""
    export = reference("tp2.pp2+ep4.shared")
    used = {
        axis: {
            tuple(export.groups[n.attr["pg_name"]]) for n in export.traces[rank] if n.attr.get("axis") == axis
        }
        for rank, axis in ((0, "tp"), (5, "exchange"))
    }
    assert used == {"tp": {(0, 1)}, "exchange": {(0, 1, 4, 5, 6, 7), (2, 3, 4, 5, 6, 7)}}


def test_only_what_waits_across_ranks_is_signalled() -> None:
    """Two steps of two micro-batches: serial has 3 turns, 2 of them with a token; one stage needs none."""
    counts = {}
    for text in ("tp2.dp2.pp2/ep4", "tp2.dp2/ep4"):
        for order in ("serial", "pipelined"):
            traces = reference(text, order, num_steps=2).traces
            counts[text, order] = sum(node.is_signal for node in traces[0])
    assert list(counts.values()) == [5, 2, 0, 0]


def test_a_rank_that_swaps_two_collectives_is_found_out() -> None:
    export = reference("tp2.dp2.pp2/ep4")
    traces = dict(export.traces)
    own = traces[0]
    one, two = [i for i, node in enumerate(own) if node.name in ("dispatch", "combine")][:2]
    own = list(own)
    own[one], own[two] = (
        dataclasses.replace(own[one], name=own[two].name),
        dataclasses.replace(own[two], name=own[one].name),
    )
    with pytest.raises(AssertionError, match="combine"):
        replay({**traces, 0: own}, export.groups)


def test_a_lost_message_is_a_deadlock() -> None:
    export = reference("tp2.dp2.pp2/ep4")
    own = [node for node in export.traces[0] if node.kind != "send"]
    with pytest.raises(AssertionError, match="deadlock"):
        replay({**export.traces, 0: own}, export.groups)


def test_ranks_of_2048_gpus_differ_by_groups_and_peers_alone() -> None:
    export = reference(LARGE)
    assert len(export.files) == 2049
    plain = [
        [
            dataclasses.replace(
                node,
                attr={k: v for k, v in node.attr.items() if k not in ("pg_name", "comm_src", "comm_dst")},
            )
            for node in wire_nodes(export.files[f"step.{rank}.et"])
        ]
        for rank in (0, 1023)
    ]
    assert plain[0] == plain[1]
    last = wire_nodes(export.files["step.1023.et"])
    sent = {(node.attr["comm_src"], node.attr["comm_dst"]) for node in last if node.kind == "send"}
    assert sent == {(1023, 2047)}
    assert export.groups[next(n.attr["pg_name"] for n in last if n.attr.get("axis") == "tp")] == list(
        range(1016, 1024)
    )


def test_the_same_timeline_gives_the_same_bytes() -> None:
    one = reference("tp2.dp2.pp2+ep4").files
    assert reference("tp2.dp2.pp2+ep4").files == one


def test_lanes_of_wide_etp_and_levels_of_a_sum_are_parts_of_their_groups() -> None:
    layout = parse_layout("tp2.dp4/ep2.etp4")
    schedule = Schedule(near_ranks=1)
    export = Export(Case(LATENT, "shardwright", layout, 8, 1).play(schedule), layout, "shardwright")
    lanes = {tuple(export.groups[n.attr["pg_name"]]) for n in export.traces[5] if n.name == "lane_gather"}
    assert lanes == {(5, 7)}
    layout, schedule = parse_layout("tp4/etp4"), Schedule(near_ranks=2)
    export = Export(Case(LATENT, "shardwright", layout, 8, 1).play(schedule), layout, "shardwright")
    sums = [n for n in export.traces[1] if n.name == "attention_sum"][:3]
    assert [export.groups[n.attr["pg_name"]] for n in sums] == [[0, 1], [1, 3], [0, 1]]
    assert [COLLECTIVES[n.attr["comm_type"]] for n in sums] == ["REDUCE_SCATTER", "ALL_REDUCE", "ALL_GATHER"]
