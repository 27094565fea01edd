"""What the writers make of plans, in pods: counts equal the plan's."""

import pytest

from shardwright.errors import InputError
from shardwright.launch.engines import engine_named
from shardwright.launch.kubernetes.manifests import kubernetes_files
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.make import launch_of
from tests.launch.kubernetes.launches import make_plan
from tests.launch.kubernetes.reader import manifests, of_kind, pods
from tests.launch.kubernetes.schemas import check

QWEN, DEEPSEEK, LLAMA = "Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V3", "meta-llama/Llama-3.1-70B"
PLANS = (
    (QWEN, "dp8/ep8", 1),
    (QWEN, "dp4/ep4.x2", 1),
    (QWEN, "tp2.dp2/ep4.x2", 1),
    (QWEN, "tp4.pp2/ep4", 1),
    (DEEPSEEK, "dp16/ep16", 2),
    (DEEPSEEK, "tp8.dp2/ep16", 2),
    (DEEPSEEK, "tp16/ep16.x2", 4),
    (DEEPSEEK, "tp8.pp4/ep8", 4),
    (LLAMA, "tp8.x2", 2),
    (LLAMA, "tp4.pp2", 1),
)
ENGINES = ("vllm", "vllm@0.32", "sglang", "trtllm", "torchrun")
SWEEP = [(engine, *plan) for engine in ENGINES for plan in PLANS]


@pytest.mark.parametrize(("engine", "model", "layout", "nodes"), SWEEP)
def test_pods_hold_the_plans_gpus(engine: str, model: str, layout: str, nodes: int) -> None:
    plan = make_plan(model, layout, nodes, engine="any" if engine == "torchrun" else engine)
    try:
        launch = launch_of(plan, engine_named(engine))
    except InputError as refusal:
        assert "the nearest is" in str(refusal), "a layout that the engine cannot express"
        return
    options = KubernetesOptions(image="registry.example/ours:1" if engine == "torchrun" else None)
    if engine == "trtllm" and launch.nodes_per_copy > 1:
        with pytest.raises(InputError, match="MPI operator"):
            kubernetes_files(launch, plan, options)
        return
    made = kubernetes_files(launch, plan, options)
    for manifest in manifests(made.files):
        check(manifest)
    found = pods(made.files)
    assert sum(pod.gpus for pod in found) == plan.pools[0].num_gpus == 8 * nodes
    assert len(found) == len(launch.processes)
    texts = "".join(file.text for file in made.files)
    assert "HEAD_NODE_ADDRESS" not in texts and "CHECKPOINT_FOLDER" not in texts
    if launch.nodes_per_copy > 1 and engine != "torchrun":
        (group,) = of_kind(made.files, "LeaderWorkerSet")
        size = group["spec"]["leaderWorkerTemplate"]["size"]
        assert (group["spec"]["replicas"], size) == (launch.copies, launch.nodes_per_copy)
