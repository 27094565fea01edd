"""Placement: slots, replicas and the linear rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.layout.placement import Placement, linear_placement, max_slots


def test_the_reference_has_sixteen_experts_a_rank() -> None:
    placement = linear_placement(64, 4)
    assert placement.slots_of(1) == tuple(range(16, 32))
    assert max_slots(64, 0, 4) == 16


def test_experts_that_do_not_divide_go_to_the_first_ranks() -> None:
    placement = linear_placement(10, 4)
    assert [len(placement.slots_of(rank)) for rank in range(4)] == [3, 3, 2, 2]


def test_redundant_slots_repeat_the_experts_from_the_first_on() -> None:
    placement = linear_placement(4, 3, redundant=5)
    assert placement.experts == (0, 1, 2, 3, 0, 1, 2, 3, 0)
    assert placement.replicas(0) == (0, 4, 8)
    assert placement.replicas(3) == (3, 7)
    assert placement.slots_of(2) == (6, 7, 8)


def test_ranks_may_own_nothing() -> None:
    assert linear_placement(2, 4).slots_of(3) == ()


def test_an_expert_without_a_slot_is_no_placement() -> None:
    with pytest.raises(AssertionError):
        Placement(num_experts=2, ep=1, experts=(0, 0), ranks=(0, 0))


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 20))
def test_linear_placement(num_experts: int, ep: int, redundant: int) -> None:
    placement = linear_placement(num_experts, ep, redundant)
    owned = [placement.slots_of(rank) for rank in range(ep)]
    assert [slot for slots in owned for slot in slots] == list(range(num_experts + redundant))
    counts = [len(slots) for slots in owned]
    assert counts == sorted(counts, reverse=True)
    assert max(counts) == max_slots(num_experts, redundant, ep) <= min(counts) + 1
    replicas = [len(placement.replicas(expert)) for expert in range(num_experts)]
    assert sum(replicas) == num_experts + redundant
    assert replicas == sorted(replicas, reverse=True)
    assert max(replicas) <= min(replicas) + 1
    for expert in range(num_experts):
        assert {placement.experts[slot] for slot in placement.replicas(expert)} == {expert}


def test_max_slots_takes_arrays() -> None:
    found = max_slots(64, np.array([0, 8, 32]), np.array([4, 5, 96]))
    assert np.array_equal(found, [16, 15, 1])
