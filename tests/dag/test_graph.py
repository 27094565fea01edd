"""Programs that do not fit together are refused, by ranks and operations."""

from dataclasses import replace
from typing import Any

import pytest

from shardwright.dag.chain import Chain, Post
from shardwright.dag.graph import ProgramError, causal_order
from shardwright.dag.worker import Worker
from tests.dag.hand import (
    apart_workers,
    collective,
    compute,
    exchange,
    graph_of,
    ping_pong,
    pipeline,
    stage_workers,
    transfer,
    with_posts,
)

ALIKE = dict.fromkeys(
    ("compute", "sum", "attention", "experts", "dispatch", "combine", "send_stage", "receive_stage"), 1.0
)


def refusal(workers: tuple[Worker, ...], chains: list[Chain], *, serial: bool = False) -> str:
    with pytest.raises(ProgramError) as refused:
        graph_of(workers, chains, ALIKE, serial=serial)
    return str(refused.value)


def test_nodes_stand_after_all_that_they_wait_for() -> None:
    graph = graph_of(apart_workers(2, shared=True), ping_pong(2, 3, 2, 2, shared=True), ALIKE)
    place = {node.number: index for index, node in enumerate(causal_order(graph))}
    assert len(place) == len(graph.nodes) == 2 * 3 * 2 * (2 * 6 + 1)
    assert all(place[number] < place[node.number] for node in graph.nodes for number in graph.before(node))
    meeting = [node for node in graph.nodes if node.meets is not None]
    assert len(meeting) == 2 * 3 * 2 * 2 * 4
    for node in meeting:
        other = graph.nodes[node.meets]
        assert other.meets == node.number and other.operation == node.operation
        assert other.operation.layer == node.operation.layer
        assert other.worker != node.worker


def test_a_receive_that_is_missing() -> None:
    chains = pipeline(2, 2, 1)
    said = refusal(stage_workers(2), with_posts(chains, 3, chains[3].posts[1:]))
    assert said == "rank 0 (stage 0 attention+experts), micro-batch 1: send_stage is never received"


def test_a_send_that_is_missing() -> None:
    chains = pipeline(2, 2, 1)
    said = refusal(stage_workers(2), with_posts(chains, 0, chains[0].posts[:-1]))
    assert said == "rank 1 (stage 1 attention+experts), micro-batch 0: receive_stage is never sent"


def test_a_send_that_is_there_twice() -> None:
    chains = pipeline(2, 2, 1)
    said = refusal(stage_workers(2), with_posts(chains, 0, (*chains[0].posts, chains[0].posts[-1])))
    assert said == "rank 0 (stage 0 attention+experts), micro-batch 0: send_stage is there twice"


def test_a_transfer_of_another_size() -> None:
    chains = pipeline(2, 1, 1)
    more = replace(chains[1].posts[0], operation=transfer(sends=False, payload_bytes=7))
    said = refusal(stage_workers(2), with_posts(chains, 1, (more, *chains[1].posts[1:])))
    assert said == (
        "rank 0 (stage 0 attention+experts), micro-batch 0: send_stage and "
        "rank 1 (stage 1 attention+experts), micro-batch 0: receive_stage are of 1 and 7 bytes"
    )


def test_an_exchange_of_another_size() -> None:
    chains = ping_pong(1, 1, 1, 2)
    more = replace(chains[1].posts[0], operation=exchange("dispatch", 0, payload_bytes=7))
    said = refusal(apart_workers(1, shared=False), with_posts(chains, 1, (more, *chains[1].posts[1:])))
    assert said == (
        "rank 0 (stage 0 attention), micro-batch 0: dispatch of layer 0 and "
        "rank 1 (stage 0 experts), micro-batch 0: dispatch of layer 0 are of 1 and 7 bytes"
    )


def test_an_exchange_with_the_experts_of_another_stage() -> None:
    chains = ping_pong(2, 1, 1, 1)
    wrong = replace(chains[0].posts[1], peers=(0, 3))
    posts = (chains[0].posts[0], wrong, *chains[0].posts[2:])
    said = refusal(apart_workers(2, shared=False), with_posts(chains, 0, posts))
    assert said == "rank 0 (stage 0 attention), micro-batch 0: dispatch of layer 0 has no other side"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"num_ranks": 4}, "sum is over 4 ranks of tp, whose groups have 2"),
        ({"axis": "dp"}, "sum is over 2 ranks of dp, whose groups have no ranks"),
        ({"axis": "pp", "num_ranks": 1}, "sum is over 1 ranks of pp, whose groups have 2"),
    ],
    ids=["of another size", "of another axis", "of another axis and size"],
)
def test_a_sum_over_the_wrong_group(changed: dict[str, Any], said: str) -> None:
    chains = pipeline(2, 1, 1, (compute(), collective()))
    wrong = replace(chains[1].posts[2], operation=replace(collective(), **changed))
    posts = (*chains[1].posts[:2], wrong)
    where = "rank 1 (stage 1 attention+experts), micro-batch 0: "
    assert refusal(stage_workers(2), with_posts(chains, 1, posts)) == where + said


def test_a_sum_with_the_ranks_of_another_stage() -> None:
    chains = pipeline(2, 1, 1, (collective(),))
    wrong = replace(chains[0].posts[0], peers=(0, 1))
    said = refusal(stage_workers(2), with_posts(chains, 0, (wrong, *chains[0].posts[1:])))
    assert said == "rank 0 (stage 0 attention+experts), micro-batch 0: sum is among workers (0, 1)"


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (
            (0, 1, 3, 4, 5),
            "rank 0 (stage 0 attention), micro-batch 0: combine of layer 0 meets "
            "rank 1 (stage 0 experts), micro-batch 0: dispatch of layer 1",
        ),
        ((0, 1, 2, 3, 4), "rank 0 (stage 0 attention), micro-batch 0: combine of layer 1 has no other side"),
        (
            (2, 1, 0, 3, 4, 5),
            "rank 0 (stage 0 attention), micro-batch 0: dispatch of layer 0 meets "
            "rank 1 (stage 0 experts), micro-batch 0: combine of layer 0",
        ),
    ],
    ids=["no first combine", "no last combine", "combine before dispatch"],
)
def test_experts_that_do_another_exchange(kept: tuple[int, ...], said: str) -> None:
    chains = ping_pong(1, 1, 1, 2)
    posts = tuple(chains[1].posts[place] for place in kept)
    assert refusal(apart_workers(1, shared=False), with_posts(chains, 1, posts)) == said


def test_transfers_that_are_received_in_another_order() -> None:
    """Messages between two ranks do not overtake: the second would be taken for the first."""
    first, second = stage_workers(2)
    sends = tuple(Post(transfer(sends=True), index, (0, 1)) for index in (0, 1))
    receives = tuple(Post(transfer(sends=False), index, (0, 1)) for index in (1, 0))
    said = refusal(stage_workers(2), [Chain(first, 0, 0, 0, sends), Chain(second, 1, 0, 0, receives)])
    assert said == (
        "rank 1 (stage 1 attention+experts), micro-batch 1: receive_stage comes before "
        "rank 1 (stage 1 attention+experts), micro-batch 0: receive_stage, which was sent first"
    )


def test_two_transfers_swapped_between_micro_batches_that_go_one_after_the_other() -> None:
    chains = pipeline(2, 2, 1)
    one, two = chains[0].posts, chains[2].posts
    swapped = with_posts(with_posts(chains, 0, (one[0], two[-1])), 2, (two[0], one[-1]))
    said = refusal(stage_workers(2), swapped, serial=True)
    assert said == (
        "deadlock: no rank can go on\n"
        "  rank 0 (stage 0 attention+experts), micro-batch 1: compute\n"
        "  rank 1 (stage 1 attention+experts), micro-batch 0: receive_stage"
    )


def test_two_exchanges_whose_sides_wait_for_each_other() -> None:
    workers = apart_workers(1, shared=False)
    there = [Post(exchange("dispatch", 0), index, (0, 1)) for index in (0, 1)]
    begun = Post(compute("attention"), 0, (0,))
    chains = [Chain(workers[0], 0, 0, 0, (begun, *there)), Chain(workers[1], 0, 0, 0, (there[1], there[0]))]
    said = refusal(workers, chains)
    assert said == (
        "deadlock: no rank can go on\n"
        "  rank 0 (stage 0 attention), micro-batch 0: dispatch of layer 0\n"
        "  rank 1 (stage 0 experts), micro-batch 1: dispatch of layer 0"
    )
