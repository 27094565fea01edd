"""Ranks, GPUs and counts in words."""

from collections.abc import Iterable

from shardwright.cost.memory import RankMemory


def gpus_of(ranks: Iterable[int]) -> str:
    """Runs of neighbours as ranges.

    >>> gpus_of([0, 1, 2, 5]), gpus_of([3])
    ('GPUs 0-2, 5', 'GPU 3')
    """
    ordered = sorted(ranks)
    return ("GPU " if len(ordered) == 1 else "GPUs ") + ranges(ordered)


def ranges(numbers: Iterable[int]) -> str:
    """Runs of neighbours, in the order in which they stand.

    >>> ranges([0, 1, 2, 5]), ranges([5, 0, 1])
    ('0-2, 5', '5, 0-1')
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def stage_of(row: RankMemory) -> str:
    """The stage that a row of memory stands for: 'first stage', 'all stages'."""
    return "all stages" if row.stage == "all" else f"{row.stage} stage"


def several(count: int, one: str, many: str = "") -> str:
    """A count with its noun.

    >>> several(1, "copy", "copies"), several(2, "rank")
    ('1 copy', '2 ranks')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
