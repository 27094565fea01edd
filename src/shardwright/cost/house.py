"""A copy of the model under load: what its steps take with so many prompts in them.

A copy has dp x lanes places, the attention ranks of a stage times the micro-batches that take turns in it.
"""

from dataclasses import dataclass

import numpy as np

from shardwright.cluster.device import Device
from shardwright.cost.host import Host
from shardwright.engine.engine import Engine
from shardwright.record import Size


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How an engine fills a step of one attention rank, of `most_tokens` tokens; see Scheduler."""

    most_tokens: int
    mixes: bool
    splits: bool

    def prompts(self, length: int) -> float:
        """Prompts of `length` tokens in a step that is full of them; one where it is a part."""
        return max(1.0, float(self.share(length, 0)))

    def tokens(self, length: int) -> int:
        """Of one prompt in a step."""
        return min(self.most_tokens, length) if self.splits else length

    def share(self, length: int, decoding: Size) -> Size:
        """Prompts of `length` tokens, or the part of one, in a step while so many sequences decode."""
        room = np.maximum(self.most_tokens - (decoding if self.mixes else 0), 1)
        return room / length if self.splits else np.maximum(room // length, 1)


def batching_of(engine: Engine, device: Device, longest: int) -> Batching:
    """The engine's default. One that does not cut prompts is set up for the longest request, lest it be
    refused."""
    limits, scheduler = engine.memory.limits_on(device), engine.scheduler
    return Batching(
        most_tokens=max(limits.max_batched_tokens, 0 if scheduler.splits else longest),
        mixes=scheduler.mixes,
        splits=scheduler.splits,
    )


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One micro-batch: through all stages, and on the busiest of them, in seconds of the devices."""

    pass_s: Size
    busy_s: Size


@dataclass(frozen=True, kw_only=True)
class House:
    """Numbers, or arrays over layouts; seconds of the devices.

    sequences: in flight in each place. decode_s: from token to token while all decode; attention_s: of that,
    the attention of one micro-batch. Prompts: `single`, one on one dp rank; `lone`, one on each; `full`, on
    each as many as a step takes.
    """

    sequences: Size
    lanes: Size
    dp: Size
    decode_s: Size
    attention_s: Size
    single: Passage
    lone: Passage
    full: Passage

    @property
    def places(self) -> Size:
        """Of one copy."""
        return self.dp * self.lanes

    def decode_step_s(self, host: Host) -> Size:
        """A step in which all decode, with its host's time."""
        devices_s = np.maximum(self.decode_s * host.decode, host.least_s)
        return devices_s + host.step_s + host.sequence_s * self.sequences

    def prompt_step_s(self, host: Host, prompts: Size, most: float, decoding: Size) -> Size:
        """A step with so many prompts in all places together, as few as can be in each, while `decoding`
        sequences of each place decode beside them. most: prompts of a place in a step."""
        lanes = np.clip(prompts, 1, self.lanes)
        of_lane = prompts / lanes
        spread = np.clip((of_lane - 1) / np.maximum(np.asarray(self.dp) - 1, 1), 0, 1)
        more = np.maximum(of_lane / self.dp - 1, 0) / max(most - 1, 1)
        beside_s = self.attention_s * decoding / self.sequences

        single, lone, full = self.single, self.lone, self.full
        pass_s, busy_s = (
            one_s + spread * (each_s - one_s) + more * (full_s - each_s) + attention_s
            for one_s, each_s, full_s, attention_s in (
                (single.pass_s, lone.pass_s, full.pass_s, beside_s),
                (single.busy_s, lone.busy_s, full.busy_s, beside_s / self.lanes),
            )
        )
        others_s = (self.lanes - lanes) * self.decode_s / self.lanes
        devices_s = np.maximum(pass_s, lanes * busy_s + others_s)
        on_host_s = host.step_s + host.sequence_s * self.sequences + host.prefill_s
        runs_s = np.maximum(devices_s * host.prefill, host.least_s) + on_host_s
        ends_s: Size = np.maximum(runs_s, host.least_prefill_s)
        return ends_s
