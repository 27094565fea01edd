"""Layers of stages, against the engines' own partitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.stages import even_stages, first_stages, layer_ranges, stage_counts

sizes = st.tuples(st.integers(1, 100), st.integers(1, 16)).filter(lambda pair: pair[1] <= pair[0])


@pytest.mark.parametrize(
    ("num_layers", "pp", "counts"),
    [
        (16, 2, (8, 8)),
        (3, 2, (2, 1)),
        (5, 3, (2, 2, 1)),
        (4, 3, (1, 2, 1)),
        (18, 4, (4, 5, 5, 4)),
        (19, 4, (5, 5, 5, 4)),
        (17, 4, (4, 4, 5, 4)),
        (61, 8, (7, 7, 8, 8, 8, 8, 8, 7)),
    ],
)
def test_even_stages_of_vllm(num_layers: int, pp: int, counts: tuple[int, ...]) -> None:
    assert even_stages(num_layers, pp) == counts


@given(sizes)
def test_even_stages_follow_the_formula_of_vllm(size: tuple[int, int]) -> None:
    """get_pp_indices adds the remainder from the last but one stage downwards."""
    num_layers, pp = size
    partitions = [num_layers // pp] * pp
    for back in range(2, num_layers % pp + 2):
        partitions[-back] += 1
    assert even_stages(num_layers, pp) == tuple(partitions)


@given(sizes)
def test_first_stages_follow_tensor_split(size: tuple[int, int]) -> None:
    num_layers, pp = size
    assert first_stages(num_layers, pp) == tuple(map(len, np.array_split(np.arange(num_layers), pp)))


@given(sizes, st.sampled_from([even_stages, first_stages]))
def test_ranges_cover_the_layers_in_order(size: tuple[int, int], split: object) -> None:
    num_layers, pp = size
    ranges = layer_ranges(split(num_layers, pp))  # type: ignore[operator]
    assert [layer for stage in ranges for layer in stage] == list(range(num_layers))
    assert min(map(len, ranges)) >= 1


def test_stated_layers_win_and_must_add_up() -> None:
    layout = Layout(pp=2, stage_layers=(9, 7))
    assert stage_counts(layout, 16) == (9, 7)
    assert stage_counts(Layout(pp=4), 18) == (4, 5, 5, 4)
    assert stage_counts(Layout(pp=4), 18, first_stages) == (5, 5, 4, 4)
    with pytest.raises(InputError, match=r"9:7.*15 layers"):
        stage_counts(layout, 15)


@pytest.mark.parametrize("split", [even_stages, first_stages])
def test_more_stages_than_layers_are_refused(split: object) -> None:
    with pytest.raises(InputError, match="at most 3 stages"):
        split(3, 4)  # type: ignore[operator]
