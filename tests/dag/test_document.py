"""The document says what the timeline says, and can be read back."""

from shardwright.dag.document import StepGraph, step_document
from shardwright.dag.schedule import Schedule
from shardwright.steps.operation import COMMUNICATION
from tests.dag.reference_timeline import FOLDED, SHARED, played


def document(layout: str) -> StepGraph:
    return step_document(
        played(layout),
        layout=layout,
        model="reference",
        engine="shardwright",
        schedule=Schedule(micro_batches=2),
    )


def test_it_is_read_back_as_it_was_written() -> None:
    whole = document(SHARED)
    assert StepGraph.model_validate_json(whole.model_dump_json()) == whole


def test_nodes_are_those_of_the_timeline() -> None:
    timeline, whole = played(SHARED), document(SHARED)
    assert [node.number for node in whole.nodes] == list(range(len(timeline.slices)))
    for node, piece in zip(whole.nodes, timeline.slices, strict=True):
        assert (node.start_s, node.end_s, node.uses) == (piece.start_s, piece.end_s, piece.engine)
        assert (node.bytes, node.flops) == (piece.node.operation.bytes, piece.node.operation.flops)
        assert (node.after, node.meets) == (piece.node.after, piece.node.meets)
        assert (node.dimension is None) == (node.family not in COMMUNICATION)
    assert max(node.end_s for node in whole.nodes) == whole.makespan_s


def test_every_dimension_of_the_reference_is_there_as_often_as_a_hand_counts() -> None:
    nodes = document(FOLDED).nodes
    counts = {axis: sum(node.dimension == axis for node in nodes) for axis in ("tp", "exchange", "pp")}
    # Two micro-batches of: two sums in each of 16 layers, one after the embedding, the gather of the logits;
    # dispatch and combine in each layer; a send and a receive.
    assert counts == {"tp": 2 * (2 * 16 + 2), "exchange": 2 * 2 * 16, "pp": 2 * 2}
    assert {node.num_ranks for node in nodes if node.dimension == "exchange"} == {4}


def test_ranks_of_the_workers_are_all_ranks_once() -> None:
    whole = document(SHARED)
    assert sorted(rank for worker in whole.workers for rank in worker.ranks) == list(range(8))
    assert [(w.role, w.stage) for w in whole.workers] == [
        ("attention", 0),
        ("attention", 1),
        ("experts", None),
    ]
