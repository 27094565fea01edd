"""GPUs, pods and ranks of the manifests equal the plan's, counted by a reader of its own."""

from itertools import product

import pytest

from shardwright.launch.kubernetes.manifests import kubernetes_files
from shardwright.launch.kubernetes.options import KubernetesOptions
from tests.launch.kubernetes.launches import ARGV, PORT, make_launch, make_plan, small_plan
from tests.launch.kubernetes.reader import NAMESPACE, manifests, of_kind, pods
from tests.launch.kubernetes.schemas import check

IMAGE = KubernetesOptions(image="registry.example/engine:1")
SWEEP = [
    (engine, nodes, copies, gpus)
    for engine, nodes, copies, gpus in product(ARGV, (1, 2, 4), (1, 3), (1, 4, 8))
    if engine != "trtllm" or nodes == 1
]


@pytest.mark.parametrize(("engine", "nodes", "copies", "gpus"), SWEEP)
def test_counts_equal_the_launch_and_schemas_hold(engine: str, nodes: int, copies: int, gpus: int) -> None:
    launch = make_launch(engine, nodes=nodes, copies=copies, gpus=gpus)
    files = kubernetes_files(launch, small_plan(), IMAGE).files
    for manifest in manifests(files):
        check(manifest)
    found = pods(files)
    assert len(found) == len({pod.name for pod in found}) == nodes * copies
    assert sum(pod.gpus for pod in found) == launch.num_gpus == gpus * nodes * copies
    assert {pod.gpus for pod in found} == {gpus}


@pytest.mark.parametrize(("engine", "nodes", "copies", "gpus"), SWEEP)
def test_each_pod_runs_what_the_launch_says_of_its_node(
    engine: str, nodes: int, copies: int, gpus: int
) -> None:
    launch = make_launch(engine, name="example", nodes=nodes, copies=copies, gpus=gpus)
    found = pods(kubernetes_files(launch, small_plan(), IMAGE).files)
    expected = []
    for replica, rank in product(range(copies), range(nodes)):
        if nodes == 1:
            leader = "127.0.0.1"
        elif engine == "torchrun":
            leader = f"example-{replica}-0.example-{replica}"
        else:
            leader = f"example-{replica}.example.{NAMESPACE}"
        argv = ARGV[engine]("Qwen/Qwen3-30B-A3B", rank, nodes, gpus, leader, "0.0.0.0", PORT)
        program = {"/opt/venv/bin/vllm": "vllm", "/usr/bin/python": "python3"}.get(argv[0], argv[0])
        expected.append((program, *(word.replace("CHECKPOINT_FOLDER", "/models") for word in argv[1:])))
    mounted = [tuple(word.removeprefix("/etc/shardwright/") for word in pod.argv) for pod in found]
    assert mounted == expected


def test_deepseek_v3_takes_the_16_gpus_of_the_plan() -> None:
    """With attention data parallelism, where aiconfigurator 0.12 asks for 256."""
    plan = make_plan("deepseek-ai/DeepSeek-V3", "dp16/ep16", nodes=2)
    launch = make_launch(
        "vllm", name=plan.deployment.name, model="deepseek-ai/DeepSeek-V3", nodes=2, layout="dp16/ep16"
    )
    files = kubernetes_files(launch, plan, KubernetesOptions()).files
    (group,) = of_kind(files, "LeaderWorkerSet")
    assert (group["spec"]["replicas"], group["spec"]["leaderWorkerTemplate"]["size"]) == (1, 2)
    assert sum(pod.gpus for pod in pods(files)) == 16 == plan.pools[0].num_gpus


@pytest.mark.parametrize(("layout", "gpus", "copies"), [("dp8/ep8", 8, 1), ("dp4/ep4.x2", 4, 2)])
def test_qwen3_takes_the_8_gpus_of_the_plan(layout: str, gpus: int, copies: int) -> None:
    """With attention data parallelism, where aiconfigurator 0.12 asks for 16."""
    plan = make_plan("Qwen/Qwen3-30B-A3B", layout, nodes=1)
    launch = make_launch("vllm", name=plan.deployment.name, gpus=gpus, copies=copies, layout=layout)
    files = kubernetes_files(launch, plan, KubernetesOptions()).files
    (deployment,) = of_kind(files, "Deployment")
    assert deployment["spec"]["replicas"] == copies
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 0, "an update has no GPUs to spare"
    assert sum(pod.gpus for pod in pods(files)) == 8 == plan.pools[0].num_gpus


def test_words_for_what_no_plan_knows_are_known_in_pods() -> None:
    launch = make_launch("vllm", nodes=2, environment={"HEAD": "tcp://HEAD_NODE_ADDRESS:1"})
    processes = tuple(
        process.model_copy(
            update={"argv": (*process.argv, '{"host": "HEAD_NODE_ADDRESS"}', "--at=CHECKPOINT_FOLDER/a")}
        )
        for process in launch.processes
    )
    launch = launch.model_copy(update={"processes": processes})
    options = KubernetesOptions(checkpoint="/models/$(mine)")
    for pod in pods(kubernetes_files(launch, small_plan(), options).files):
        assert pod.argv[-2:] == (f'{{"host": "example-0.example.{NAMESPACE}"}}', "--at=/models/$(mine)/a")
        assert pod.environment["HEAD"] == f"tcp://example-0.example.{NAMESPACE}:1"


def test_amd_gpus_are_asked_of_their_own_device_plugin() -> None:
    files = kubernetes_files(make_launch("vllm"), small_plan("AMD"), KubernetesOptions()).files
    (pod,) = pods(files)
    (container,) = pod.template["spec"]["containers"]
    assert container["resources"]["limits"] == {"amd.com/gpu": "8"}
    assert container["image"] == "vllm/vllm-openai-rocm:v0.33.0"


def test_gpus_are_numbered_by_the_pod_not_by_the_node() -> None:
    environment = {
        "CUDA_VISIBLE_DEVICES": "4,5,6,7",
        "NCCL_SOCKET_IFNAME": "eth1",
        "VLLM_HOST_IP": "10.0.0.1",
    }
    for nodes in (1, 2):
        launch = make_launch("vllm", gpus=4, nodes=nodes, environment=environment)
        for pod in pods(kubernetes_files(launch, small_plan(), KubernetesOptions()).files):
            assert pod.environment["NCCL_SOCKET_IFNAME"] == "eth1"
            assert pod.environment["VLLM_HOST_IP"] == "{'fieldPath': 'status.podIP'}"
            assert "CUDA_VISIBLE_DEVICES" not in pod.environment


def test_loopback_stays_loopback_in_a_pod_alone() -> None:
    launch = make_launch("vllm", environment={"VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"})
    (pod,) = pods(kubernetes_files(launch, small_plan(), KubernetesOptions()).files)
    assert pod.environment["VLLM_HOST_IP"] == "127.0.0.1"
    assert pod.environment["GLOO_SOCKET_IFNAME"] == "lo"
