"""Seconds of a device's work between two moments of a program."""

import time
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Times laps one after another: each from start() to stop(name)."""

    def start(self) -> None: ...

    def stop(self, name: str) -> None: ...

    def laps(self) -> list[tuple[str, float]]:
        """Name and seconds of every lap, in order; waits until the device has done them."""


class HostClock:
    """For the CPU, which has done its work when a call returns."""

    def __init__(self) -> None:
        self._laps: list[tuple[str, float]] = []
        self._started_s = 0.0

    def start(self) -> None:
        self._started_s = time.perf_counter()

    def stop(self, name: str) -> None:
        self._laps.append((name, time.perf_counter() - self._started_s))

    def laps(self) -> list[tuple[str, float]]:
        return self._laps


class CudaClock:
    """For a GPU: events in its stream. A lap holds its own kernels, and their waits for the host."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._laps: list[tuple[str, Any, Any]] = []
        self._started = self._event()

    def start(self) -> None:
        self._started = self._event()
        self._started.record()

    def stop(self, name: str) -> None:
        stopped = self._event()
        stopped.record()
        self._laps.append((name, self._started, stopped))

    def laps(self) -> list[tuple[str, float]]:
        torch.cuda.synchronize(self._device)
        return [(name, started.elapsed_time(stopped) / 1e3) for name, started, stopped in self._laps]

    def _event(self) -> Any:
        return torch.cuda.Event(enable_timing=True)


def clock_of(device: torch.device) -> Clock:
    """A new clock for a device."""
    return CudaClock(device) if device.type == "cuda" else HostClock()
