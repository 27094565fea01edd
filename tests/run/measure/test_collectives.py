"""Collectives between real processes, and what is left behind when one of them is lost."""

import os
import signal
import time
from dataclasses import dataclass

import pytest
import torch

from shardwright.run.measure.collectives import (
    KINDS,
    PAYLOAD_BYTES,
    Collectives,
    _request,
    measure_collectives,
    operation_of,
)
from shardwright.run.network import Kind
from shardwright.run.pool import Pool, RankError
from shardwright.run.task import Tell
from shardwright.steps.operation import Exchange


@dataclass(frozen=True, kw_only=True)
class Struck(Collectives):
    """Rank 1 dies in the middle."""

    def perform(self, rank: int, tell: Tell) -> list[list[float]]:
        tell("all_reduce of 1024 bytes, round 2")
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().perform(rank, tell)


def test_every_kind_is_measured_over_each_number_of_ranks() -> None:
    found = measure_collectives("cpu", "bf16", 3, 0.2)
    assert set(found) == set(KINDS)
    for timings in found.values():
        assert {timing.shape[0] for timing in timings} == {2, 3}
        assert timings[0].shape[1] == PAYLOAD_BYTES[0]
        assert all(0 < timing.seconds < 10 for timing in timings)


def test_a_lost_process_is_named_and_none_is_left() -> None:
    with Pool(2, patience_s=30.0) as pool:
        with pytest.raises(RankError, match=r"rank 1 \(one of 2 that measure collectives\), .*: its process"):
            pool.run(Struck(num_ranks=2, device="cpu", dtype="bf16", budget_s=1.0))
        assert pool.pids == []


def test_an_interrupt_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []

    def interrupted(self: Pool, ranks: object, told: object) -> None:
        pids.extend(self.pids)
        raise KeyboardInterrupt

    monkeypatch.setattr(Pool, "_listen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure_collectives("cpu", "bf16", 2, 1.0)
    assert len(pids) == 2
    time.sleep(0.1)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_ranks", [2, 4])
def test_what_is_sent_is_what_the_operation_counts(kind: Kind, num_ranks: int) -> None:
    task = Collectives(num_ranks=num_ranks, device="cpu", dtype="bf16", budget_s=1.0)
    request = _request(task, kind, torch.zeros(1 << 16), 4096)
    operation = operation_of(kind, num_ranks, 4096)
    assert request.payload_bytes * 2 / request.tensor.element_size() == operation.payload_bytes
    assert operation.family == {"all_reduce": "all_reduce", "all_to_all": "exchange"}.get(kind, "gather")
    if isinstance(operation, Exchange):
        assert operation.remote == 1 - 1 / num_ranks
