"""The interpreter in one process: what it performs, and what it names when programs do not fit."""

import pytest
import torch

from shardwright.run.in_process import MismatchError, play
from shardwright.run.network import Program, Request

Step = tuple[str, str, tuple[int, ...]]


def scripted(steps: list[Step], sizes: dict[str, int] | None = None) -> Program:
    """A program of the steps (kind, name, group), each with a tensor of ones."""
    for kind, name, group in steps:
        length = (sizes or {}).get(name, 2)
        share = (length // len(group),) * len(group) if kind == "all_to_all" else ()
        yield Request(
            kind=kind,  # type: ignore[arg-type]
            name=name,
            layer=3,
            group=group,
            tensor=torch.ones(length),
            gives=share,
            takes=share,
        )


def scripts(*programs: list[Step]) -> dict[tuple[int, int], Program]:
    return {(rank, 0): scripted(steps) for rank, steps in enumerate(programs)}


def reduce(name: str, *group: int) -> Step:
    return ("all_reduce", name, group)


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        (
            scripts([("send", "stage", (0, 1))], []),
            r"deadlock.*\n  rank 0, micro-batch 0: send 'stage' of layer 3 over ranks \[0, 1\]$",
        ),
        (
            scripts([("receive", "stage", (1, 0))], [("receive", "stage", (0, 1))]),
            r"deadlock.*\n  rank 0, .*receive 'stage'.*\[1, 0\]\n  rank 1, .*receive 'stage'.*\[0, 1\]$",
        ),
        (
            scripts([("send", "stage", (0, 1))], [("send", "stage", (0, 1))]),
            r"rank 0 waits in send 'stage' .*, rank 1 in send 'stage' of layer 3 over ranks \[0, 1\]",
        ),
        (
            scripts([("receive", "stage", (0, 1))], [("receive", "stage", (0, 1))]),
            r"rank 0 waits in receive 'stage' .*, rank 0 in receive",
        ),
        (
            scripts([reduce("a", 0, 1), reduce("b", 0, 1)], [reduce("b", 0, 1), reduce("a", 0, 1)]),
            r"rank 0 waits in all_reduce 'a' of layer 3 over ranks \[0, 1\], rank 1 in all_reduce 'b'",
        ),
        (
            scripts([reduce("a", 0, 1)], [("all_gather", "a", (0, 1))]),
            r"rank 0 waits in all_reduce 'a' .*, rank 1 in all_gather 'a'",
        ),
        (
            scripts([reduce("a", 0, 1)], [reduce("a", 0, 1, 2)], [reduce("a", 0, 1, 2)]),
            r"deadlock.*\n  rank 0, .*\[0, 1\]\n  rank 1, .*\[0, 1, 2\]\n  rank 2, .*\[0, 1, 2\]$",
        ),
        (
            scripts([reduce("a", 0, 1)], [reduce("a", 1, 0)]),
            r"deadlock.*\n  rank 0, .*\[0, 1\]\n  rank 1, .*\[1, 0\]$",
        ),
        (
            scripts([reduce("a", 0, 1), reduce("a", 0, 1)], [reduce("a", 0, 1)]),
            r"deadlock.*\n  rank 0, micro-batch 0: all_reduce 'a'",
        ),
        (
            {(0, 0): scripted([reduce("a", 0, 1)]), (1, 1): scripted([reduce("a", 0, 1)])},
            r"deadlock.*\n  rank 0, micro-batch 0: .*\n  rank 1, micro-batch 1",
        ),
        (
            {(rank, 0): scripted([reduce("a", 0, 1)], {"a": rank + 2}) for rank in range(2)},
            r"all_reduce 'a' of layer 3 over ranks \[0, 1\]: sizes differ by rank: \{0: \(2,\), 1: \(3,\)\}",
        ),
        (
            {(rank, 0): scripted([("all_gather", "a", (0, 1))], {"a": rank + 2}) for rank in range(2)},
            r"all_gather 'a' .*: sizes differ by rank",
        ),
        (
            {(rank, 0): scripted([("all_to_all", "a", (0, 1))], {"a": 2 * rank + 2}) for rank in range(2)},
            r"all_to_all 'a' .*\[0, 1\]: rank 0 takes \[1, 1\], is given \[1, 2\]",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else "",
)
def test_programs_that_do_not_fit_are_named(programs: dict[tuple[int, int], Program], message: str) -> None:
    with pytest.raises(MismatchError, match=f"(?s){message}"):
        play(programs)


def test_a_rank_that_gives_more_than_it_has_is_named() -> None:
    def greedy(rank: int) -> Program:
        yield Request(
            kind="all_to_all",
            name="dispatch",
            layer=0,
            group=(0, 1),
            tensor=torch.ones(3, 2),
            gives=(2, 2),
            takes=(2, 2),
        )

    with pytest.raises(MismatchError, match=r"'dispatch' of layer 0"):
        play({(rank, 0): greedy(rank) for rank in range(2)})


def test_each_operation_gives_what_torch_distributed_gives() -> None:
    """Four ranks with a tensor of their own; the results by hand."""
    given_, got = {rank: torch.arange(4.0).view(4, 1) + 10 * rank for rank in range(4)}, {}
    group = (2, 0, 3, 1)  # the order of a group is its own

    def program(rank: int, kind: str) -> Program:
        got[rank] = yield Request(
            kind=kind,  # type: ignore[arg-type]
            name=kind,
            layer=None,
            group=group,
            tensor=given_[rank],
            gives=(1, 1, 1, 1),
            takes=(1, 1, 1, 1),
        )

    def run(kind: str) -> dict[int, list[float]]:
        play({(rank, 0): program(rank, kind) for rank in range(4)})
        return {rank: tensor.flatten().tolist() for rank, tensor in got.items()}

    assert run("all_reduce") == {rank: [60, 64, 68, 72] for rank in range(4)}
    assert run("all_gather")[1] == [20, 21, 22, 23, 0, 1, 2, 3, 30, 31, 32, 33, 10, 11, 12, 13]
    assert run("reduce_scatter") == {2: [60.0], 0: [64.0], 3: [68.0], 1: [72.0]}
    assert run("all_to_all") == {
        2: [20, 0, 30, 10],
        0: [21, 1, 31, 11],
        3: [22, 2, 32, 12],
        1: [23, 3, 33, 13],
    }


def test_micro_batches_and_groups_do_not_wait_for_each_other() -> None:
    """Rank 1 is late in its first micro-batch; the second, and the group (2, 3), go on."""
    order: list[tuple[int, int]] = []
    programs = {
        (rank, batch): scripted([reduce("a", 0, 1) if rank < 2 else reduce("a", 2, 3)])
        for rank, batch in [(0, 0), (0, 1), (1, 1), (2, 0), (3, 0), (1, 0)]
    }
    play(programs, lambda key, request: order.append(key))
    assert sorted(order) == sorted(programs)
    assert all(one[1] == other[1] for one, other in zip(order[::2], order[1::2], strict=True))
