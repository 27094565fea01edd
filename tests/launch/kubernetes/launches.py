"""Launches written by hand as the engines' documents have them: no writer's code is in them."""

from collections.abc import Callable, Mapping

from shardwright.launch.launch import Launch, Process
from shardwright.layout.notation import parse_layout
from shardwright.plan.deployment import resolve
from shardwright.plan.plan import Plan
from shardwright.search.search import plan_for
from tests.report.records import PLAN as SMALL_PLAN

Argv = Callable[[str, int, int, int, str, str, int], tuple[str, ...]]
"""model, node rank, nodes, GPUs a node, leader's address, host, port -> argv."""


def vllm_argv(
    model: str, rank: int, nodes: int, gpus: int, leader: str, host: str, port: int
) -> tuple[str, ...]:
    base = (
        "/opt/venv/bin/vllm",
        "serve",
        model,
        "--data-parallel-size",
        str(nodes * gpus),
        "--enable-expert-parallel",
    )
    if nodes > 1:
        base += ("--nnodes", str(nodes), "--node-rank", str(rank))
        base += ("--master-addr", leader, "--master-port", "29501")
    return (*base, "--host", host, "--port", str(port)) if rank == 0 else (*base, "--headless")


def sglang_argv(
    model: str, rank: int, nodes: int, gpus: int, leader: str, host: str, port: int
) -> tuple[str, ...]:
    base = (
        "/usr/bin/python",
        "-m",
        "sglang.launch_server",
        "--model-path",
        model,
        "--tp-size",
        str(nodes * gpus),
    )
    if nodes > 1:
        base += (f"--dist-init-addr={leader}:20000", "--nnodes", str(nodes), "--node-rank", str(rank))
    return (*base, "--host", host, "--port", str(port))


def trtllm_argv(
    model: str, rank: int, nodes: int, gpus: int, leader: str, host: str, port: int
) -> tuple[str, ...]:
    base = ("trtllm-serve", model, "--tp_size", str(nodes * gpus), "--config", "trtllm/config.yaml")
    return (*base, f"--host={host}", "--port", str(port))


def torchrun_argv(
    model: str, rank: int, nodes: int, gpus: int, leader: str, host: str, port: int
) -> tuple[str, ...]:
    base = ("torchrun", "--nnodes", str(nodes), "--node-rank", str(rank), "--nproc-per-node", str(gpus))
    base += ("--rdzv-endpoint", f"{leader}:29500", "-m", "shardwright.run.world", "plan.json")
    return (*base, "--prompt", model, "--checkpoint", "CHECKPOINT_FOLDER")


ARGV: dict[str, Argv] = {
    "vllm": vllm_argv,
    "sglang": sglang_argv,
    "trtllm": trtllm_argv,
    "torchrun": torchrun_argv,
}
VERSIONS = {"vllm": "0.33.0", "sglang": "0.5.23", "trtllm": "1.2", "torchrun": "0.1"}
NODE_ADDRESS = "10.0.0.{}"
PORT = 8000


def make_launch(
    engine: str,
    *,
    name: str = "example",
    model: str = "Qwen/Qwen3-30B-A3B",
    gpus: int = 8,
    nodes: int = 1,
    copies: int = 1,
    environment: Mapping[str, str] | None = None,
    layout: str = "dp4/ep4",
    files: tuple = (),
) -> Launch:
    """`copies` over `nodes` each, `gpus` a process; the ports of copies differ, as on one machine."""
    processes = []
    for replica in range(copies):
        for rank in range(nodes):
            node = replica * nodes + rank
            port = PORT + replica
            leader = NODE_ADDRESS.format(replica * nodes)
            argv = ARGV[engine](model, rank, nodes, gpus, leader, "127.0.0.1", port)
            processes.append(
                Process(
                    name=f"copy-{replica}-node-{rank}",
                    replica=replica,
                    node=node,
                    node_rank=rank,
                    gpus=tuple(range(gpus)),
                    ranks=tuple(range(rank * gpus, (rank + 1) * gpus)),
                    environment={
                        "CUDA_VISIBLE_DEVICES": ",".join(map(str, range(gpus))),
                        **(environment or {}),
                    },
                    argv=argv,
                    host="127.0.0.1",
                    port=port if rank == 0 and engine != "torchrun" else None,
                )
            )
    return Launch(
        name=name,
        engine="shardwright" if engine == "torchrun" else engine,
        version=VERSIONS[engine],
        layout=layout,
        num_gpus=gpus * nodes * copies,
        num_nodes=nodes * copies,
        copies=copies,
        nodes_per_copy=nodes,
        processes=tuple(processes),
        files=files,
        health="/health",
    )


def make_plan(model: str, layout: str, nodes: int, engine: str = "vllm") -> Plan:
    """A plan of a catalog model on H200 nodes of 8, its figures set by hand."""
    cluster = {"gpu": "H200-SXM-141GB", "nodes": nodes, "gpus_per_node": 8}
    workload = {"batch": 128, "input_tokens": 1024, "output_tokens": 512, "max_model_len": 1536}
    given = resolve(
        {"model": model, "cluster": cluster, "workload": workload, "engine": engine, "name": model}
    )
    plan = plan_for(given, parse_layout(layout), reason="by hand")
    pool = plan.pools[0].model_copy(update={"figures": SMALL_PLAN.pools[0].figures})
    return plan.model_copy(update={"pools": (pool,)})


def small_plan(vendor: str = "NVIDIA") -> Plan:
    """Every figure set by hand: a request takes 0.075 + 50 x 0.012 s at most."""
    device = SMALL_PLAN.deployment.cluster.device.model_copy(update={"vendor": vendor})
    cluster = SMALL_PLAN.deployment.cluster.model_copy(update={"device": device})
    return SMALL_PLAN.model_copy(
        update={"deployment": SMALL_PLAN.deployment.model_copy(update={"cluster": cluster})}
    )
