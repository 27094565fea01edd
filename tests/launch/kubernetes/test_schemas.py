"""The schemas refuse what a cluster would: without that, the sweep that passes them would prove nothing."""

import copy
from collections.abc import Callable
from itertools import product
from typing import Any

import jsonschema
import pytest

from shardwright.launch.kubernetes.manifests import kubernetes_files
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.launch import LaunchFile
from tests.launch.kubernetes.launches import make_launch, small_plan
from tests.launch.kubernetes.reader import manifests, of_kind
from tests.launch.kubernetes.schemas import check

Manifest = dict[str, Any]


def files(nodes: int, **options: Any) -> tuple[LaunchFile, ...]:
    return kubernetes_files(
        make_launch("vllm", nodes=nodes), small_plan(), KubernetesOptions(**options)
    ).files


def container(manifest: Manifest) -> Manifest:
    group = manifest["spec"].get("leaderWorkerTemplate", {})
    template = group.get("workerTemplate") or manifest["spec"]["template"]
    return template["spec"]["containers"][0]


def change(path: str, value: object) -> Callable[[Manifest], None]:
    """Sets what stands at a dotted path; None takes it out."""

    def apply(manifest: Manifest) -> None:
        *way, last = path.split(".")
        at = manifest
        for step in way:
            at = at[step]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return apply


GROUP = "spec.leaderWorkerTemplate"
LEADER_WORKER_SET_MUTANTS = {
    "size is text": change(f"{GROUP}.size", "2"),
    "size is none": change(f"{GROUP}.size", 0),
    "no template": change(GROUP, None),
    "no worker": change(f"{GROUP}.workerTemplate", None),
    "unknown field": change(f"{GROUP}.sizes", 2),
    "unknown field of the spec": change("spec.minReadySeconds", 5),
    "replicas is text": change("spec.replicas", "1"),
    "unknown restart policy": change(f"{GROUP}.restartPolicy", "Always"),
    "other version": change("apiVersion", "leaderworkerset.x-k8s.io/v1alpha1"),
    "label is a number": change("metadata.labels", {"version": 1}),
    "unknown field of a leader": change(f"{GROUP}.leaderTemplate.spec.gpu", 1),
    "unknown field of a worker": change(f"{GROUP}.workerTemplate.spec.gpu", 1),
}
DEPLOYMENT_MUTANTS: dict[str, Callable[[Manifest], None]] = {
    "replicas is text": change("spec.replicas", "1"),
    "no selector": change("spec.selector", None),
    "unknown field": change("spec.template.spec.nodeSelectors", {}),
    "port is text": lambda m: container(m)["ports"][0].update(containerPort="8000"),
    "value is a number": lambda m: container(m)["env"].append({"name": "A", "value": 1}),
    "argument is a number": lambda m: container(m)["args"].append(8),
}


@pytest.mark.parametrize("mutant", LEADER_WORKER_SET_MUTANTS)
def test_a_wrong_leader_worker_set_is_refused(mutant: str) -> None:
    (manifest,) = of_kind(files(2), "LeaderWorkerSet")
    check(manifest)
    wrong = copy.deepcopy(manifest)
    LEADER_WORKER_SET_MUTANTS[mutant](wrong)
    with pytest.raises(jsonschema.ValidationError):
        check(wrong)


@pytest.mark.parametrize("mutant", DEPLOYMENT_MUTANTS)
def test_a_wrong_deployment_is_refused(mutant: str) -> None:
    (manifest,) = of_kind(files(1), "Deployment")
    check(manifest)
    wrong = copy.deepcopy(manifest)
    DEPLOYMENT_MUTANTS[mutant](wrong)
    with pytest.raises(jsonschema.ValidationError):
        check(wrong)


OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"namespace": "team-a", "name": "chat", "service_port": 80, "pull_secret": "registry"},
    {"cache": "host"},
    {"cache": "empty", "token_secret": "hub", "token_key": "hf"},
    {"claim": "weights"},
    {"storage_class": "fast", "cpus": 64, "memory_gib": 512, "shared_memory_gib": 64},
    {"resources": {"rdma/ib": "1"}},
    {"node_selector": {"nvidia.com/gpu.product": "NVIDIA-H200"}, "environment": {"NCCL_DEBUG": "INFO"}},
)


@pytest.mark.parametrize(
    ("nodes", "options"),
    [*product((1, 2), OPTIONS), (2, {"exclusive_topology": "topology.example/rack"})],
)
def test_every_option_keeps_the_schemas(nodes: int, options: dict[str, Any]) -> None:
    for manifest in manifests(files(nodes, **options)):
        check(manifest)
        assert manifest["metadata"].get("namespace") == options.get("namespace")
