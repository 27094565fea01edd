"""Timing: what counts of many timings, how long it takes, and operands that no cache holds."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch

from shardwright.run.measure.arena import ALIGNMENT, Arena
from shardwright.run.measure.bench import ROUNDS, Bench, Case, settled, stable, timed
from shardwright.steps.operation import Small

CPU = torch.device("cpu")
MIB = 1 << 20


@dataclass
class FakeTime:
    """A host and a device whose work takes what the test says, with interference in six timings of ten."""

    disturbed: float = 0.0
    now_s: float = 0.0
    work_s: float = 0.0
    order: list[float] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def now(self) -> float:
        return self.now_s

    def call(self, seconds: float) -> Callable[[Arena], Callable[[], object]]:
        def work() -> None:
            self.work_s = seconds * (1 + self.disturbed * (self.chance.random() < 0.6) * self.chance.random())
            self.now_s += self.work_s
            self.order.append(seconds)

        return lambda arena: work

    def clock(self, device: torch.device) -> "FakeClock":
        return FakeClock(self)


@dataclass
class FakeClock:
    time: FakeTime
    found: list[tuple[str, float]] = field(default_factory=list)

    def start(self) -> None:
        pass

    def stop(self, name: str) -> None:
        self.found.append((name, self.time.work_s))

    def laps(self) -> list[tuple[str, float]]:
        return self.found


def bench(fake: FakeTime) -> Bench:
    return Bench(device=CPU, arena=Arena(CPU, 4 * MIB), now=fake.now, clock=fake.clock)


def cases(fake: FakeTime, seconds: list[float]) -> list[Case]:
    return [
        Case(operation=Small(name="", moved_bytes=1000.0 * index), shape=(index,), ready=fake.call(each))
        for index, each in enumerate(seconds)
    ]


def test_interference_does_not_count() -> None:
    fake, truth = FakeTime(disturbed=5.0), [0.001, 0.004, 0.002, 0.01]
    assert [timing.seconds for timing in timed(bench(fake), cases(fake, truth), 5.0)] == truth


def test_what_is_stable_is_timed_no_more() -> None:
    fake = FakeTime()
    timed(bench(fake), cases(fake, [0.01, 0.02]), 100.0)
    assert fake.order.count(0.01) == fake.order.count(0.02) == 5  # the first run, and four that agree


def test_rounds_go_over_all_cases() -> None:
    fake = FakeTime()
    timed(bench(fake), cases(fake, [0.01, 0.02, 0.03]), 100.0)
    assert all(sorted(fake.order[i : i + 3]) == [0.01, 0.02, 0.03] for i in range(0, 15, 3))


def test_the_budget_decides_how_many_and_the_smallest_come_first() -> None:
    fake = FakeTime(disturbed=5.0)
    found = timed(bench(fake), cases(fake, [0.1] * 100), 9.0)
    assert [timing.shape[0] for timing in found] == list(range(len(found)))
    assert 3 <= len(found) <= 1 + 9.0 / 0.1 / (1 + ROUNDS)
    assert fake.now_s < 9.0 * 4


def test_one_case_is_measured_whatever_it_takes() -> None:
    fake = FakeTime()
    assert [timing.seconds for timing in timed(bench(fake), cases(fake, [7.0, 8.0]), 0.001)] == [7.0]


def test_cases_that_would_stay_in_a_cache_are_left_out() -> None:
    fake = FakeTime()
    large = Case(operation=Small(name="", moved_bytes=2 * MIB), shape=(1,), ready=fake.call(1.0))
    assert [timing.seconds for timing in timed(bench(fake), [large, *cases(fake, [0.5])], 100.0)] == [0.5]


def test_the_fastest_timings_agree_or_not() -> None:
    assert not stable([1.0, 1.0, 1.0])
    assert stable([5.0, 1.0, 1.01, 1.02])
    assert not stable([1.0, 1.03, 1.01, 9.0])
    assert settled([9.0, 1.0, 3.0, 2.0, 8.0]) == 2.0
    assert settled([4.0]) == 4.0


def test_no_operand_is_read_again_before_all_others() -> None:
    arena = Arena(CPU, 4 * MIB)
    places = [arena.take(1000, dtype=torch.bfloat16).data_ptr() for _ in range(4 * MIB // 2048 + 1)]
    assert len(set(places[:-1])) == len(places) - 1
    assert places[-1] == places[0]
    assert all((place - places[0]) % ALIGNMENT == 0 for place in places)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_operands_are_ordinary_numbers(dtype: torch.dtype) -> None:
    values = Arena(CPU, 2 * MIB).take(2 * MIB // dtype.itemsize, dtype=dtype).float()
    assert values.isfinite().all()
    assert values.abs().max() < 10
    assert values.std() > 0.5
