"""Rows and choices are those of the plan's routing profile."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from shardwright.cluster.catalog import find_device
from shardwright.run.alone.expected import ExpectedRouter, apportioned, expected_counts
from shardwright.run.alone.turn import turn_of
from shardwright.run.machine import alike
from shardwright.workload.routing import RoutingProfile, inclusion_probabilities
from tests.run.alone.test_measure import deployed, seats_of

ZIPF = RoutingProfile(kind="zipf", exponent=1.0)


@given(st.integers(0, 1000), st.lists(st.floats(0, 10), min_size=1, max_size=20))
def test_apportioned_rows_keep_the_sum_and_miss_their_part_by_less_than_one(
    total: int, shares: list[float]
) -> None:
    weights = np.array(shares)
    rows = apportioned(total, weights)
    assume(weights.sum() > 1e-9)
    assert rows.sum() == total
    assert np.all(np.abs(rows - total * weights / weights.sum()) < 1 + 1e-6)


def test_counts_are_the_busiest_ranks_rows_by_share() -> None:
    deployment = deployed("mixtral", routing=ZIPF)
    for layout, rank in (("tp2.dp2/ep4", 0), ("tp2.dp2/ep2.etp2", 3), ("dp2+ep2", 3), ("tp1+ep4.r4", 1)):
        seat = seats_of(deployment, layout).seat(rank)
        turn = turn_of(deployment, seat, "prefill")
        counts = expected_counts(seat, turn, ZIPF, seat.exchange_group(0))
        assert counts.sum() == round(float(turn.load.expert_rows))
        placement = seat.seats.placement
        assert placement is not None
        chosen = inclusion_probabilities(ZIPF, 8, 2)
        shares = [
            chosen[placement.experts[s]] / len(placement.replicas(placement.experts[s])) for s in seat.slots
        ]
        active = np.sort(
            np.argsort(-np.array(shares), kind="stable")[: round(float(turn.load.active_experts))]
        )
        assert np.flatnonzero(counts.sum(0)).tolist() == active.tolist()
        part = np.array(shares)[active] / sum(np.array(shares)[active])
        assert np.all(np.abs(counts.sum(0)[active] - counts.sum() * part) < 1)


def test_only_the_attention_ranks_that_an_expert_set_serves_send() -> None:
    deployment = deployed("mixtral")
    seats = seats_of(deployment, "tp2.dp2+ep2.edp2")
    for rank, senders in ((4, [0, 2]), (5, [0, 2]), (6, [1, 3]), (0, [])):
        seat = seats.seat(rank)
        counts = expected_counts(
            seat, turn_of(deployment, seat, "prefill"), RoutingProfile(), seat.exchange_group(0)
        )
        assert np.flatnonzero(counts.sum(1)).tolist() == senders
        assert counts.sum(1).max() - counts.sum(1)[senders].min(initial=counts.sum(1).max()) <= 1


class Router(nn.Module):
    """Gives every token the first experts."""

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ids = torch.arange(2).expand(rows.shape[0], 2)
        return rows, torch.ones(ids.shape), ids


def test_own_tokens_choose_as_the_profile_says() -> None:
    router = ExpectedRouter(Router(), ZIPF, 8, seed=3)
    rows = torch.zeros(20_000, 4)
    _, weights, ids = router(rows)
    assert torch.equal(ids, router(rows)[2]) and weights.shape == ids.shape == (20_000, 2)
    assert bool((ids[:, 0] != ids[:, 1]).all())
    frequency = ids.flatten().bincount(minlength=8) / 20_000
    assert frequency.numpy() == pytest.approx(inclusion_probabilities(ZIPF, 8, 2), abs=0.015)


@pytest.mark.parametrize(
    ("name", "gib", "planned", "same"),
    [
        ("NVIDIA H200", 139.8, "H200-SXM-141GB", True),
        ("NVIDIA H100 80GB HBM3", 79.2, "H100-SXM-80GB", True),
        ("NVIDIA H100 PCIe", 79.2, "H100-SXM-80GB", False),
        ("NVIDIA H100 NVL", 93.1, "H100-SXM-80GB", False),
        ("NVIDIA A100-SXM4-80GB", 79.3, "A100-SXM-80GB", True),
        ("NVIDIA A100-SXM4-80GB", 79.3, "A100-SXM-64GB", False),
        ("NVIDIA A100-SXM4-40GB", 39.4, "A100-SXM-80GB", False),
        ("NVIDIA H200", 139.8, "H100-SXM-80GB", False),
    ],
)
def test_machine_is_the_plans_by_name_and_memory(name: str, gib: float, planned: str, same: bool) -> None:
    assert alike(name, round(gib * 2**30), find_device(planned)) is same
