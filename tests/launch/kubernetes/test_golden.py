"""Whole folders of manifests against files.

After a wanted change: SHARDWRIGHT_REGENERATE=1 python -m pytest tests/launch/kubernetes/test_golden.py
and read the diff.
"""

import os
from pathlib import Path

import pytest

from shardwright.launch.kubernetes.manifests import kubernetes_files
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.launch import Launch, LaunchFile
from shardwright.plan.plan import Plan
from tests.launch.kubernetes.launches import make_launch, make_plan, small_plan

GOLDEN = Path(__file__).parent / "golden"
QWEN, DEEPSEEK = "Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V3"
TRTLLM_CONFIG = LaunchFile(path="trtllm/config.yaml", text="enable_attention_dp: true\n")

CASES: dict[str, tuple[Launch, Plan, KubernetesOptions]] = {
    "vllm_one_node_two_copies": (
        make_launch("vllm", name=QWEN, model=QWEN, gpus=4, copies=2, layout="dp4/ep4.x2"),
        make_plan(QWEN, "dp4/ep4.x2", nodes=1),
        KubernetesOptions(),
    ),
    "vllm_two_nodes": (
        make_launch("vllm", name=DEEPSEEK, model=DEEPSEEK, nodes=2, layout="dp16/ep16"),
        make_plan(DEEPSEEK, "dp16/ep16", nodes=2),
        KubernetesOptions(
            claim="models",
            namespace="serving",
            token_secret="hub",
            resources={"rdma/ib": "1"},
            node_selector={"nvidia.com/gpu.product": "NVIDIA-H200"},
        ),
    ),
    "sglang_two_nodes": (
        make_launch("sglang", name=DEEPSEEK, model=DEEPSEEK, nodes=2, layout="tp16/ep16"),
        make_plan(DEEPSEEK, "tp16/ep16", nodes=2, engine="sglang"),
        KubernetesOptions(cache="host"),
    ),
    "trtllm_one_node": (
        make_launch("trtllm", name=QWEN, model=QWEN, layout="dp8/ep8", files=(TRTLLM_CONFIG,)),
        make_plan(QWEN, "dp8/ep8", nodes=1, engine="trtllm"),
        KubernetesOptions(cache="empty"),
    ),
    "torchrun_two_nodes": (
        make_launch("torchrun", model="Hello", nodes=2),
        small_plan(),
        KubernetesOptions(image="registry.example/shardwright:0.1", cache="empty"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_manifests_are_the_golden_ones(case: str) -> None:
    launch, plan, options = CASES[case]
    # The plan in the ConfigMap is what tests/plan holds; its figures would make this a test of the model.
    texts = {
        Path(file.path).name: file.text
        for file in kubernetes_files(launch, plan, options).files
        if not (case.startswith("torchrun") and file.path.endswith("configmap.yaml"))
    }
    folder = GOLDEN / case
    if os.environ.get("SHARDWRIGHT_REGENERATE"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    assert texts == {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}
