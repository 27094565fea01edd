"""One GPU stands for many: any single rank of a plan, executed alone, timed and weighed.

The rank has its own modules, with random weights of the real shapes, and runs its own program; what its
peers would send is made up. So its computation and its memory are measured without the cluster, and
nothing is said of communication, nor of the values.
"""

import datetime
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import transformers

from shardwright import __version__
from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.model.spec import GQA, ModelSpec
from shardwright.plan.alone import Kernels, PhaseMeasurement, RankMeasurement, Spread, StretchTime
from shardwright.plan.deployment import Deployment
from shardwright.run.alone.expected import ExpectedRouter
from shardwright.run.alone.filled import FilledCache
from shardwright.run.alone.hollow import HollowCheckpoint, executed_dtype, executed_model, hollow_config
from shardwright.run.alone.peers import AbsentPeers
from shardwright.run.alone.room import check_room
from shardwright.run.alone.solo import play_alone
from shardwright.run.alone.turn import (
    Turn,
    predicted_bytes,
    predicted_seconds,
    predicted_stretches,
    turn_of,
)
from shardwright.run.batch import MicroBatch
from shardwright.run.job import seats_of
from shardwright.run.machine import device_name, is_the_plans, open_device
from shardwright.run.modules import build_modules
from shardwright.run.perform import decoder_of
from shardwright.run.program import Rank, run_micro_batch
from shardwright.run.seat import Seat
from shardwright.steps.operation import Phase

PHASES: tuple[Phase, ...] = ("prefill", "decode")

KERNELS: dict[Kernels, tuple[str, str]] = {"eager": ("eager", "eager"), "fused": ("sdpa", "grouped_mm")}
"""(attention, experts) as transformers 5.23.0 calls them."""

USUAL: dict[str, Kernels] = {"cpu": "eager", "cuda": "fused"}
"""Kind of device -> its kernels where none are asked for."""

PEAK = {
    "cpu": "weights and KV, the tensors held between steps",
    "cuda": "torch.cuda.max_memory_allocated",
}
"""Kind of device -> what peak_bytes counts."""


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How often a step is run before it is timed, and timed; the seed of weights, tokens and routing."""

    warm_ups: int = 2
    repetitions: int = 5
    seed: int = 0


def measure_alone(
    deployment: Deployment,
    layout: Layout,
    rank: int,
    device: str = "cpu",
    *,
    phases: Sequence[Phase] = PHASES,
    kernels: Kernels | None = None,
    rounds: Rounds = Rounds(),
    progress: Callable[[str], None] = lambda doing: None,
) -> RankMeasurement:
    """Run one rank of `layout` under the deployment's load on 'cpu' or 'cuda', and weigh and time it.

    Raises InputError for a rank that the layout lacks and for what our runtime cannot execute,
    EnvironmentLacksError without the device or without room on it.
    """
    model, place = executed_model(deployment.model), open_device(device)
    seat = _seat(model, layout, rank)
    turns = [turn_of(deployment, seat, phase) for phase in phases]
    attention, experts = KERNELS[kernels or USUAL[place.type]]
    if isinstance(model.attention, GQA) and model.attention.sinks:
        attention = "eager"  # the only one of transformers that has sinks and takes a mask
    check_room(seat, turns, place, eager=attention == "eager")
    config = hollow_config(model, attention=attention, experts=experts)
    progress("drawing its weights")
    try:
        runner = _Runner(deployment, seat, config, place, rounds)
        measured = []
        for turn in turns:
            progress(turn.phase)
            measured.append(runner.measure(turn))
    except torch.OutOfMemoryError:
        raise EnvironmentLacksError(f"rank {rank} ran out of the memory of {device_name(place)}") from None
    return RankMeasurement(
        tool_version=__version__,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        model=model.name,
        executed_as=config.model_type,
        layout=format_layout(layout),
        rank=rank,
        role=seat.role if model.experts else "attention",
        stages=tuple(seat.stages),
        device=device_name(place),
        torch_version=torch.__version__,
        transformers_version=transformers.__version__,
        dtype=model.weight_dtype,
        stated_in=deployment.model.stored_in,
        attention_kernel=attention,
        expert_kernel=experts,
        seed=rounds.seed,
        warm_ups=rounds.warm_ups,
        repetitions=rounds.repetitions,
        predicted_for=deployment.cluster.device.name,
        same_device=is_the_plans(place, deployment.cluster.device),
        weight_bytes=runner.rank.modules.weight_bytes,
        predicted_weight_bytes=predicted_bytes(deployment, seat, turns[0])[0],
        peak_is=PEAK[place.type],
        phases=tuple(measured),
    )


def _seat(model: ModelSpec, layout: Layout, rank: int) -> Seat:
    """Raises InputError for a layout that our runtime cannot execute, and for a rank that it lacks."""
    seats = seats_of(layout, model)
    if not 0 <= rank < layout.num_gpus:
        raise InputError("--rank", rank, f"0 to {layout.num_gpus - 1}, a rank of {format_layout(layout)}")
    return seats.seat(rank)


class _Runner:
    """The rank with its modules, ready to run turns."""

    def __init__(
        self, deployment: Deployment, seat: Seat, config: Any, device: torch.device, rounds: Rounds
    ) -> None:
        self._deployment, self._seat, self._rounds = deployment, seat, rounds
        model, profile = seat.seats.model, deployment.workload.routing
        dtype = executed_dtype(model)
        checkpoint: Any = HollowCheckpoint(dtype, device, seed=rounds.seed)
        modules = build_modules(seat, model, config, decoder_of(config), checkpoint, device)
        self.rank = Rank(seat=seat, model=model, modules=modules, device=device, dtype=dtype)
        for parts in modules.layers.values():
            if parts.router is not None and model.experts is not None:
                parts.router = ExpectedRouter(parts.router, profile, model.experts.num_experts, rounds.seed)
        self._generator = torch.Generator(device).manual_seed(rounds.seed)

    def measure(self, turn: Turn) -> PhaseMeasurement:
        """Warm up, repeat, and set what cost/ predicts beside it."""
        deployment, seat = self._deployment, self._seat
        peers = AbsentPeers(seat, turn, deployment.workload.routing, self._generator)
        batch, cache = self._batch(turn), FilledCache(turn.past, self._generator)
        for _ in range(self._rounds.warm_ups):
            self._step(batch, cache, peers)
        on_gpu = self.rank.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.rank.device)
        steps = [self._step(batch, cache, peers) for _ in range(self._rounds.repetitions)]
        held = self.rank.modules.weight_bytes + cache.num_bytes
        return PhaseMeasurement(
            phase=turn.phase,
            sequences=turn.sequences,
            query_tokens=turn.query_tokens,
            context=turn.context,
            expert_rows=turn.expert_rows if seat.slots else 0,
            measured=_spread([sum(step.values()) for step in steps]),
            predicted_s=predicted_seconds(deployment, seat, turn),
            stretches=tuple(
                StretchTime(until=name, measured=_spread([step[name] for step in steps]), predicted_s=seconds)
                for name, seconds in predicted_stretches(deployment, seat, turn).items()
            ),
            kv_bytes=cache.num_bytes,
            predicted_kv_bytes=predicted_bytes(deployment, seat, turn)[1],
            peak_bytes=torch.cuda.max_memory_allocated(self.rank.device) if on_gpu else held,
        )

    def _batch(self, turn: Turn) -> MicroBatch:
        """Random tokens; none on a rank without attention."""
        device, shape = self.rank.device, (turn.sequences, turn.query_tokens)
        if self._seat.role == "experts":
            shape = (0, 1)
        tokens = torch.randint(self._seat.seats.model.vocab, shape, generator=self._generator, device=device)
        padding = torch.zeros(shape[0], dtype=torch.long, device=device)
        return MicroBatch(padding_B=padding, tokens_BS=tokens, past=turn.past if shape[0] else 0)

    @torch.no_grad()
    def _step(self, batch: MicroBatch, cache: FilledCache, peers: AbsentPeers) -> dict[str, float]:
        """Seconds of computation in one step, by the communication that they end in."""
        program = run_micro_batch(self.rank, batch, cast(Any, cache), step=0, index=0)
        return play_alone(program, peers.answer, self.rank.device)


def _spread(seconds: list[float]) -> Spread:
    return Spread(median_s=statistics.median(seconds), low_s=min(seconds), high_s=max(seconds))
