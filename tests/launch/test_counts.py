"""GPUs, nodes, ranks and processes of every emitted file are the plan's, as an independent reader counts."""

from functools import cache

import numpy as np
import pytest

from shardwright.engine.engine import breaches, engine_grid
from shardwright.errors import InputError
from shardwright.launch.engines import engine_named
from shardwright.launch.launch import Launch
from shardwright.launch.make import launch_of
from shardwright.layout.notation import parse_layout
from tests.launch.plans import cluster_of, model_named, plan_of
from tests.launch.reader import READERS, Worker, flags, started

MODELS = ("Qwen3-30B-A3B", "DeepSeek-V3", "Mixtral-8x7B-v0.1", "Llama-3.3-70B-Instruct", "Qwen3-8B")
LAYOUTS = (
    *("tp4", "tp8", "tp2.pp2", "tp2.x4", "tp8.pp2", "tp8.x2", "tp4.pp4", "tp1.pp2.x3"),
    *("tp8/ep8", "dp8/ep8", "tp2.dp4/ep8", "tp2.dp2.pp2/ep4", "tp2.dp2/ep4.x2", "dp2/ep2.x6", "dp16/ep16"),
    *(
        "tp8.dp2/ep16",
        "tp4.dp2.pp2/ep8",
        "tp8.pp2/ep8",
        "tp4/etp4",
        "tp8/ep4.etp2",
        "dp8.pp2/ep8",
        "dp4/ep4.x4",
    ),
    *("tp4.dp4/ep16", "tp16/ep16", "tp2.dp4.pp4/ep8", "dp3/ep3", "dp6/ep6.x2", "tp2.dp6/ep12", "dp4.pp4/ep4"),
    *("tp4.pp3", "tp4.pp3/ep4", "tp2.dp3.pp2/ep6"),
)
CLUSTERS = ((1, 8), (2, 8), (4, 4), (4, 8), (8, 2))
CASES = [
    (engine, model, layout, nodes, per_node)
    for engine in READERS
    for model in (MODELS if engine != "vllm@0.32" else MODELS[:1])
    for layout in LAYOUTS
    for nodes, per_node in CLUSTERS
    if not breaches(
        engine_named(engine), parse_layout(layout), model_named(model), cluster_of("H200", nodes, per_node)
    )
]


@cache
def expected(engine: str, layout: str) -> dict[int, tuple[int, int, int, int]]:
    """Rank over all copies, as the engine numbers them -> (copy, dp, pp, tp)."""
    split = parse_layout(layout)
    ranks = engine_grid(engine_named(engine), split).attention_ranks
    places = np.ndindex(ranks.shape)
    return {int(ranks[place]): (place[0], place[2], place[1], place[3]) for place in places}


def test_there_are_enough_of_all() -> None:
    assert len(CASES) > 300
    for engine in READERS:
        assert len({case[1:3] for case in CASES if case[0] == engine}) > 20, engine


@pytest.mark.parametrize("engine", READERS)
def test_files_are_the_plans(engine: str) -> None:
    """Every legal case either starts as the plan says or is refused for its nodes."""
    refused = started_well = 0
    for _, model, layout, nodes, per_node in (case for case in CASES if case[0] == engine):
        split = parse_layout(layout)
        launch = launch_or_none(engine, model, layout, nodes, per_node)
        if launch is None:
            refused += 1
            continue
        started_well += 1
        workers = list(READERS[engine](launch))
        what = (model, layout, nodes, per_node)
        assert len(workers) == split.num_gpus == launch.num_gpus, what
        assert len({(worker.node, worker.gpu) for worker in workers}) == split.num_gpus, what
        assert {worker.node for worker in workers} <= set(range(nodes)), what
        assert max(worker.node for worker in workers) + 1 == launch.num_nodes, what
        assert all(worker.gpu < per_node for worker in workers), what
        if engine != "torchrun":
            check_experts(engine, launch, split.ep)
        assert places(launch) == {
            key(engine, layout, worker): (worker.node, worker.gpu) for worker in workers
        }
    assert started_well >= 30 and (refused > 0 or engine in ("trtllm", "torchrun"))


def launch_or_none(engine: str, model: str, layout: str, nodes: int, per_node: int) -> Launch | None:
    """None where it is refused for the nodes that it would span: all that a legal layout can lack."""
    try:
        return launch_of(plan_of(model, layout, cluster_of("H200", nodes, per_node)), engine_named(engine))
    except InputError as error:
        assert error.field == "layout" and f"of {per_node} " in error.allowed
        return None


def key(engine: str, layout: str, worker: Worker) -> int:
    """The rank over all copies that the plan's grid has at the worker's coordinates."""
    if engine == "torchrun":
        return worker.tp
    wanted = (worker.copy, worker.dp, worker.pp, worker.tp)
    return next(rank for rank, place in expected(engine, layout).items() if place == wanted)


def places(launch: Launch) -> dict[int, tuple[int, int]]:
    """Rank over all copies -> (node, GPU), as the record of the launch has them."""
    size = launch.num_gpus // (1 + max(process.replica for process in launch.processes))
    return {
        process.replica * size + rank: (process.node, gpu)
        for process in launch.processes
        for rank, gpu in zip(process.ranks, process.gpus, strict=True)
    }


def check_experts(engine: str, launch: Launch, ep: int) -> None:
    """EP as the flags make it: TP x DP in vLLM, a number of its own elsewhere."""
    for process in started(launch):
        args = flags(
            process.words,
            tensor_parallel_size=1,
            data_parallel_size=1,
            enable_expert_parallel=False,
            ep_size=1,
        )
        derived = args.tensor_parallel_size * args.data_parallel_size if args.enable_expert_parallel else 1
        assert (derived if engine.startswith("vllm") else args.ep_size) == ep
