"""What cannot run in pods is refused with a reason; nothing is left out in silence."""

import pytest

from shardwright.errors import InputError
from shardwright.launch.kubernetes.images import IMAGES, image_for
from shardwright.launch.kubernetes.manifests import kubernetes_files
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.launch import Launch, LaunchFile
from shardwright.record import validated
from tests.launch.kubernetes.launches import make_launch, small_plan


def changed(launch: Launch, index: int, **update: object) -> Launch:
    processes = list(launch.processes)
    processes[index] = processes[index].model_copy(update=update)
    return launch.model_copy(update={"processes": tuple(processes)})


def without(launch: Launch, *words: str) -> Launch:
    argv = tuple(word for word in launch.processes[0].argv if word not in words)
    return changed(launch, 0, argv=argv)


REFUSED: dict[str, tuple[Launch, str]] = {
    "MPI": (make_launch("trtllm", nodes=2), "MPI operator"),
    "Ray": (
        make_launch("vllm", nodes=2).model_copy(update={"processes": make_launch("vllm").processes}),
        "KubeRay",
    ),
    "two on a node": (changed(make_launch("vllm", nodes=2), 1, node_rank=0), "one process on each"),
    "uneven copies": (changed(make_launch("vllm", copies=2), 1, gpus=(0,)), "same number of GPUs"),
    "other total": (make_launch("vllm").model_copy(update={"num_gpus": 7}), "the 7 that"),
    "uneven workers": (
        changed(make_launch("vllm", nodes=3).model_copy(update={"num_gpus": 17}), 2, gpus=(0,)),
        "resources",
    ),
    "other arguments": (changed(make_launch("vllm", nodes=3), 2, argv=("vllm", "serve", "m")), "args"),
    "a start rank, which needs arithmetic": (
        changed(
            make_launch("vllm", nodes=3),
            2,
            argv=(*make_launch("vllm", nodes=3).processes[2].argv, "--data-parallel-start-rank", "8"),
        ),
        "args",
    ),
    "no host": (without(make_launch("vllm"), "--host"), "--host among"),
    "no API on the first node": (
        changed(make_launch("sglang", nodes=2), 1, port=8000),
        "one API a copy",
    ),
    "loopback between nodes": (
        make_launch("vllm", nodes=2, environment={"GLOO_SOCKET_IFNAME": "lo"}),
        "such as eth0",
    ),
    "files too large": (
        make_launch("trtllm", files=(LaunchFile(path="trtllm/config.yaml", text="x" * (2**20 + 1)),)),
        "at most the 1048576",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_run_in_pods_is_refused(case: str) -> None:
    launch, why = REFUSED[case]
    with pytest.raises(InputError, match=why):
        kubernetes_files(launch, small_plan(), KubernetesOptions())


def test_our_runtime_and_other_vendors_need_what_is_not_known() -> None:
    with pytest.raises(InputError, match=r"pods\.image"):
        kubernetes_files(make_launch("torchrun"), small_plan(), KubernetesOptions())
    options = KubernetesOptions(image="mine:1")
    with pytest.raises(InputError, match=r"pods\.gpu_resource"):
        kubernetes_files(make_launch("vllm"), small_plan("Huawei"), options)
    stated = options.model_copy(update={"gpu_resource": "huawei.com/Ascend910"})
    assert kubernetes_files(make_launch("vllm"), small_plan("Huawei"), stated).files


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Qwen/Qwen3"),
        ("name", "x" * 41),
        ("namespace", "a b"),
        ("image", "a b"),
        ("image", "--privileged"),
        ("claim", "$(X)"),
        ("token_secret", "a\nb"),
        ("cache", "tmp"),
        ("cache_path", "models"),
        ("host", "0.0.0.0 --x"),
        ("service_port", 70000),
        ("resources", {"rdma/ib": "many"}),
        ("node_selector", {"a b": "c"}),
        ("environment", {"A=B": "c"}),
        ("unknown", 1),
    ],
)
def test_options_that_a_cluster_would_refuse_are_refused_here(field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"pods.{field}"):
        validated(KubernetesOptions, {field: value}, field="pods")


@pytest.mark.parametrize(
    "options",
    [
        {"cache": "host", "claim": "mine"},
        {"cache": "empty", "storage_class": "fast"},
        {"claim": "mine", "storage_class": "fast"},
        {"exclusive_topology": "rack"},
    ],
)
def test_options_without_effect_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"pods\."):
        kubernetes_files(make_launch("vllm"), small_plan(), KubernetesOptions.model_validate(options))


def test_images_follow_engine_version_and_vendor() -> None:
    assert image_for("vllm", "0.33.0", "NVIDIA", None) == "vllm/vllm-openai:v0.33.0"
    assert image_for("vllm@0.32", "0.32.0", "NVIDIA", None) == "vllm/vllm-openai:v0.32.0"
    assert image_for("sglang", "0.5.23", "NVIDIA", None) == "lmsysorg/sglang:v0.5.23"
    assert image_for("trtllm", "1.2", "NVIDIA", None) == "nvcr.io/nvidia/tensorrt-llm/release:1.2.0"
    assert image_for("sglang", "0.5.23", "AMD", "mine:1") == "mine:1"
    with pytest.raises(InputError, match="AMD"):
        image_for("sglang", "0.5.23", "AMD", None)
    assert all(row.source for row in IMAGES)
