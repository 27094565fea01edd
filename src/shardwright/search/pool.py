"""One layout of a deployment in full: every figure with its interval, its memory, its command."""

from collections.abc import Iterator

import numpy as np

from shardwright.cost.clock import Range, program_range
from shardwright.cost.interval import Reach, client_reach, reach_of
from shardwright.cost.memory import RankMemory
from shardwright.cost.price import wires_of
from shardwright.cost.software import CLIENT_METRICS, Metric
from shardwright.cost.stages import stages
from shardwright.cost.step import Seconds
from shardwright.dag.schedule import Schedule
from shardwright.engine.engine import engine_grid
from shardwright.errors import InputError
from shardwright.layout.grid import Grid
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import MEMORY_PARTS, Figures, MemoryRow, Pool, TargetCheck
from shardwright.search.engine import engine_of, measured_as, serving_of
from shardwright.search.start import spoken_by_starter
from shardwright.search.timing import Timing, forms_of, stage_layers
from shardwright.steps.load import decode_load
from shardwright.steps.operation import COMMUNICATION, Operation
from shardwright.steps.program import rank_program
from shardwright.units import GB, Estimate
from shardwright.workload.workload import Targets

MEMORY_SPREAD = 1.1
"""Weights and KV are exact; what the engine allocates beside them is not."""


def build_pool(deployment: Deployment, layout: Layout, timing: Timing) -> Pool:
    """The layout, in the schedule and at the price of `timing`, as a pool of the plan."""
    engine, cost, schedule = engine_of(deployment), timing.price, timing.step.schedule
    grid = engine_grid(engine, layout)
    return Pool(
        layout=format_layout(layout),
        num_gpus=layout.num_gpus,
        stage_layers=stage_layers(layout, deployment),
        sequences_per_rank=int(cost.sequences),
        schedule=schedule,
        figures=figures(deployment, layout, timing),
        tried=timing.tried,
        seconds_by_family={name: float(seconds) for name, seconds in cost.decode.families.items()},
        memory=tuple(_memory_row(row, grid) for row in cost.memories),
        kv_sequences=float(cost.kv_sequences),
        command=command_line(deployment, layout, schedule, int(cost.sequences)),
    )


def command_line(
    deployment: Deployment, layout: Layout, schedule: Schedule, sequences_per_rank: int
) -> tuple[str, ...]:
    """argv that starts one copy on one machine; empty where no single line does."""
    try:
        said = spoken_by_starter(deployment, layout, schedule, sequences_per_rank)
    except InputError:
        return ()
    return () if said is None or said.files else said.line


def figures(deployment: Deployment, layout: Layout, timing: Timing) -> Figures:
    """The price with intervals."""
    cost, client = timing.price, timing.served
    operators = operators_range(deployment, layout, timing)
    where = (deployment.cluster, deployment.profile, layout.gpus_per_copy, layout.pp)
    step = reach_of(*where, operators)
    tpot, ttft, throughput = (_client(deployment, layout, metric) for metric in CLIENT_METRICS)
    in_decode = _largest_family(cost.decode.families)

    def within(reach: Reach, value: object, binds: str = in_decode) -> Estimate:
        figure = float(np.asarray(value))
        return Estimate.between(figure, reach.low, reach.high, binds=binds, basis=reach.basis)

    communication = _largest_family({n: s for n, s in cost.decode.families.items() if n in COMMUNICATION})
    used = float(cost.used_bytes)
    fullest = max(cost.memories, key=lambda row: float(row.used))
    grid = engine_grid(engine_of(deployment), layout)
    loose = float(fullest.activations + fullest.sampler + fullest.buffers + fullest.runtime)
    return Figures(
        step_s=within(step, client.step_s),
        tpot_s=within(tpot, client.tpot_s),
        ttft_s=within(ttft, client.ttft_s, _largest_family(cost.prefills.families)),
        throughput_tokens_per_s=within(throughput, client.throughput_tokens_per_s),
        throughput_per_gpu=within(throughput, client.throughput_tokens_per_s / layout.num_gpus),
        communication_fraction=_share(within(step, timing.step.exposed, communication)),
        communication_busy=_share(within(step, timing.step.busy, communication)),
        memory_bytes=Estimate(
            value=used,
            low=used - loose * (1 - 1 / MEMORY_SPREAD),
            high=used + loose * (MEMORY_SPREAD - 1),
            binds=f"rank {fullest_rank(fullest, grid)}, {fullest.role}, {fullest.stage} stage",
            basis="weights and KV exact, the engine's own share by its memory rule",
        ),
    )


def _client(deployment: Deployment, layout: Layout, metric: Metric) -> Reach:
    """How far a client may be from what is predicted."""
    return client_reach(
        serving_of(deployment),
        metric,
        *measured_as(deployment),
        cluster=deployment.cluster,
        gpus_per_copy=layout.gpus_per_copy,
        pp=layout.pp,
    )


def operators_range(deployment: Deployment, layout: Layout, timing: Timing) -> Range:
    """Of the operators of a decode step: one micro-batch through all stages, with the GPUs of its experts."""
    model, engine, schedule = deployment.model, engine_of(deployment), timing.step.schedule
    load = decode_load(model, layout, deployment.workload, schedule.micro_batches)
    forms = forms_of(deployment, schedule)
    wires = wires_of(engine, deployment.cluster, layout, deployment.profile)

    def program() -> Iterator[Operation]:
        for stage in stages(model, stage_layers(layout, deployment)):
            if layout.home == "folded":
                yield from rank_program(model, layout, stage, load, "attention+experts", forms)
                continue
            yield from rank_program(model, layout, stage, load, "attention", forms)
            yield from (
                operation
                for operation in rank_program(model, layout, stage, load, "experts", forms)
                if operation.family == "experts"
            )

    return program_range(program(), wires)


def _share(estimate: Estimate) -> Estimate:
    return estimate.model_copy(update={"high": min(1.0, estimate.high)})


def _largest_family(families: Seconds) -> str:
    """The family with most seconds; '' where none takes any."""
    largest = max(families, key=lambda family: float(families[family]))
    return largest if float(families[largest]) > 0 else ""


def check_targets(targets: Targets, predicted: Figures) -> tuple[TargetCheck, ...]:
    """Each stated target against its prediction."""
    rows = (
        ("tpot_ms", targets.tpot_ms, "ms", predicted.tpot_s.scaled(1e3), True),
        ("ttft_ms", targets.ttft_ms, "ms", predicted.ttft_s.scaled(1e3), True),
        (
            "throughput_tokens_per_s",
            targets.throughput_tokens_per_s,
            "tokens/s",
            predicted.throughput_tokens_per_s,
            False,
        ),
        (
            "communication_fraction",
            targets.communication_fraction,
            "of a step",
            predicted.communication_fraction,
            True,
        ),
        ("memory_gb", targets.memory_gb, "GB a GPU", predicted.memory_bytes.scaled(1 / GB), True),
    )
    return tuple(
        TargetCheck(
            name=name,
            target=target,
            unit=unit,
            predicted=figure.value,
            met=figure.value <= target if below else figure.value >= target,
            probable=figure.high <= target if below else figure.low >= target,
            probability=abs((not below) - figure.probability_up_to(target)),
        )
        for name, target, unit, figure, below in rows
        if target is not None
    )


def fullest_rank(memory: RankMemory, grid: Grid) -> int:
    """The first rank of the role in the stage, by the engine's numbers: the first ones hold the most."""
    if memory.role == "experts":
        return int(grid.expert_ranks[0, memory.first_stage, 0, 0, 0])
    return int(grid.attention_ranks[0, memory.first_stage, 0, 0])


def _memory_row(memory: RankMemory, grid: Grid) -> MemoryRow:
    parts = {name: float(getattr(memory, name)) for name in (*MEMORY_PARTS, "kv_bytes_per_token")}
    return MemoryRow(
        role=memory.role,
        stage=memory.stage,
        rank=fullest_rank(memory, grid),
        **parts,
        kv_capacity_tokens=int(memory.kv_tokens()) if memory.keeps_kv else 0,
    )
