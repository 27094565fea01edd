"""The two cases in which the best public tool asks for 256 and for 16 GPUs, from search to files."""

import pytest

from shardwright.launch.engines import engine_named
from shardwright.launch.make import launch_of
from shardwright.layout.notation import parse_layout
from shardwright.plan.deployment import resolve
from shardwright.search.search import plan_for, search
from tests.launch.reader import READERS, started

SERVERS = ("vllm", "vllm@0.32", "sglang", "trtllm")


def deployment(model: str, nodes: int, engine: str):
    return resolve(
        {
            "model": model,
            "cluster": {"gpu": "H200", "nodes": nodes, "gpus_per_node": 8},
            "workload": {"batch": 64, "input_tokens": 1024, "output_tokens": 512, "max_model_len": 4096},
            "engine": engine,
        }
    )


@pytest.mark.parametrize("engine", SERVERS)
@pytest.mark.parametrize(
    ("model", "nodes", "layout"), [("DeepSeek-V3", 2, "dp16/ep16"), ("Qwen3-30B-A3B", 1, "dp8/ep8")]
)
def test_attention_data_parallelism_counts_once(engine: str, model: str, nodes: int, layout: str) -> None:
    wanted = deployment(model, nodes, engine)
    plan = plan_for(wanted, parse_layout(layout), reason="as asked")
    launch = launch_of(plan, engine_named(engine))
    workers = list(READERS[engine](launch))
    assert sorted((worker.node, worker.gpu) for worker in workers) == [
        (node, gpu) for node in range(nodes) for gpu in range(8)
    ]
    assert sorted(worker.dp for worker in workers) == list(range(8 * nodes))
    assert (launch.num_gpus, launch.num_nodes, launch.copies) == (8 * nodes, nodes, 1)
    assert len(list(started(launch))) == (1 if engine == "trtllm" else nodes)
    assert [process.port is not None for process in launch.processes] == [True] + [False] * (nodes - 1)


@pytest.mark.parametrize("engine", SERVERS)
def test_the_best_plan_starts_on_the_engine_that_it_is_for(engine: str) -> None:
    plan = search(deployment("Qwen3-30B-A3B", 1, engine), num_alternatives=0)
    launch = launch_of(plan, engine_named(engine))
    assert len(list(READERS[engine](launch))) == parse_layout(plan.pools[0].layout).num_gpus
    if plan.pools[0].command:
        said = [word for word in plan.pools[0].command if "=" not in word and word != "env"]
        assert list(launch.processes[0].argv)[: len(said)] == said
