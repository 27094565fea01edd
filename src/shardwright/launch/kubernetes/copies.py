"""The copies of a launch, each as its processes by node rank, held against the counts that it states."""

from shardwright.errors import InputError
from shardwright.launch.launch import Launch, Process

OPERATED = "what starts its own processes on other nodes (Ray, MPI) needs its operator: KubeRay, MPI operator"

ONE_WORLD = ("trtllm",)
"""Engines whose copy over several nodes is one world of MPI (TensorRT-LLM 1.2, commands/serve.py)."""


def copies(launch: Launch) -> tuple[tuple[Process, ...], ...]:
    """The processes of each copy, by node rank.

    A launch of one world that holds all copies is one of them here. Raises InputError where a copy is not one
    process a node, where copies differ in their GPUs, or where these are not as many as the launch states.
    """
    by_replica: dict[int, list[Process]] = {}
    for process in launch.processes:
        by_replica.setdefault(process.replica, []).append(process)
    found = tuple(
        tuple(sorted(group, key=lambda process: process.node_rank)) for _, group in sorted(by_replica.items())
    )
    if launch.nodes_per_copy > 1 and launch.engine.startswith(ONE_WORLD):
        raise InputError("engine", launch.engine, f"copies of one node each in pods; {OPERATED}")
    for group in found:
        ranks = tuple(process.node_rank for process in group)
        if ranks != tuple(range(launch.nodes_per_copy)):
            shape = f"one process on each of a copy's {launch.nodes_per_copy} nodes, none by role; {OPERATED}"
            raise InputError("launch.processes", f"node ranks {list(ranks)}", shape)
    gpus = [tuple(len(process.gpus) for process in group) for group in found]
    if len(set(gpus)) != 1:
        raise InputError("launch.processes", gpus, "copies that hold the same number of GPUs on each node")
    total = sum(map(sum, gpus))
    if total != launch.num_gpus:
        raise InputError("launch.processes", f"{total} GPUs", f"the {launch.num_gpus} that the launch states")
    return found
