"""One process of a launch as a pod: its container, volumes and probes."""

from typing import Any

from shardwright.errors import InputError
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.kubernetes.places import Place, arguments, environment
from shardwright.launch.kubernetes.text import Manifest, literal
from shardwright.launch.kubernetes.times import Times
from shardwright.launch.launch import Process
from shardwright.record import Record

API_PORT = "http"
CONFIG_FOLDER = "/etc/shardwright"

GPU_RESOURCES = {
    "NVIDIA": "nvidia.com/gpu",  # NVIDIA/k8s-device-plugin, README
    "AMD": "amd.com/gpu",  # ROCm/k8s-device-plugin, README
}

CHECK_PERIOD_S = 10
CHECK_TIMEOUT_S = 10
"""An engine answers its health path from the process that also takes requests: late under load, not dead."""
FAILURES_TO_UNREADY = 3
FAILURES_TO_RESTART = 6
"""A minute without an answer: a restart costs the whole of the loading."""


class PodContext(Record):
    """What the pods of a launch share.

    mounted: paths of configuration files as the launch has them -> in the pod; config: the name of the
    ConfigMap that holds them, digest: of its content; claim: the volume claim's name.
    """

    image: str
    gpu_resource: str
    place: Place
    health: str
    times: Times
    labels: dict[str, str]
    annotations: dict[str, str]
    mounted: dict[str, str]
    config: str
    digest: str
    claim: str


def gpu_resource(vendor: str, options: KubernetesOptions) -> str:
    """The extended resource that stands for a GPU. Raises InputError for a vendor whose is not known."""
    resource = options.gpu_resource or GPU_RESOURCES.get(vendor)
    if resource is None:
        allowed = f"the resource that its device plugin calls a GPU of {vendor}, as nvidia.com/gpu"
        raise InputError("pods.gpu_resource", None, allowed)
    return resource


def pod_template(
    process: Process, context: PodContext, options: KubernetesOptions, *, component: str, serving: bool = True
) -> Manifest:
    """The template of the pods that run `process`. serving: it stays up, losing no request at its end."""
    annotations = dict(context.annotations)
    if context.mounted:
        annotations["shardwright/config"] = context.digest  # a change of the files makes new pods
    spec: Manifest = {
        # Variables of Services would be read as the engine's own: a Service vllm sets VLLM_PORT
        # (docs.vllm.ai, configuration/env_vars). The engine asks Kubernetes for nothing.
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "containers": [_container(process, context, options, component, serving)],
        "volumes": _volumes(context, options),
    }
    if serving:
        spec["terminationGracePeriodSeconds"] = context.times.grace_s
    if options.pull_secret is not None:
        spec["imagePullSecrets"] = [{"name": options.pull_secret}]
    if options.node_selector:
        spec["nodeSelector"] = dict(sorted(options.node_selector.items()))
    # Clusters keep other work off their GPU nodes by a taint named like the resource.
    spec["tolerations"] = [{"key": context.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}]
    return {
        "metadata": {
            "labels": {**context.labels, "app.kubernetes.io/component": component},
            "annotations": annotations,
        },
        "spec": spec,
    }


def _container(
    process: Process, context: PodContext, options: KubernetesOptions, component: str, serving: bool
) -> Manifest:
    command, *args = arguments(process, context.place, options, context.mounted)
    container: Manifest = {"name": component, "image": context.image, "command": [command], "args": args}
    container["env"] = _env(process, context, options)
    if process.port is not None:
        container["ports"] = [{"name": API_PORT, "containerPort": process.port, "protocol": "TCP"}]
        container |= _probes(context)
    container["resources"] = _resources(len(process.gpus), context, options)
    container["securityContext"] = _security(options)
    if serving:
        # Until every node knows that the pod ends it is sent requests, which it answers meanwhile; a pod
        # without an API waits as long, since its ranks serve those of the leader.
        drain = ["sleep", str(context.times.drain_s)]
        container["lifecycle"] = {"preStop": {"exec": {"command": drain}}}
    container["volumeMounts"] = [
        {"name": "shared-memory", "mountPath": "/dev/shm"},
        {"name": "models", "mountPath": options.cache_path},
        *([{"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True}] if context.mounted else []),
    ]
    return container


def _env(process: Process, context: PodContext, options: KubernetesOptions) -> list[Manifest]:
    entries = list(environment(process, context.place, options))
    stated = {entry["name"] for entry in entries}
    if "HF_HOME" not in stated:
        # huggingface_hub keeps models below it (its docs, package_reference/environment_variables).
        entries.append({"name": "HF_HOME", "value": literal(options.cache_path, "pods.cache_path")})
    if options.token_secret is not None and "HF_TOKEN" not in stated:
        key = {"name": options.token_secret, "key": options.token_key}
        entries.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}})
    return entries


def _probes(context: PodContext) -> Manifest:
    check = {"httpGet": {"path": context.health, "port": API_PORT}, "timeoutSeconds": CHECK_TIMEOUT_S}

    def probe(failures: int) -> Manifest:
        return {**check, "periodSeconds": CHECK_PERIOD_S, "failureThreshold": failures}

    return {
        "startupProbe": probe(-(-context.times.start_s // CHECK_PERIOD_S)),
        "readinessProbe": probe(FAILURES_TO_UNREADY),
        "livenessProbe": probe(FAILURES_TO_RESTART),
    }


def _resources(num_gpus: int, context: PodContext, options: KubernetesOptions) -> Manifest:
    """Extended resources are limits, which their requests then equal (kubernetes.io, manage-gpus)."""
    limits = {context.gpu_resource: str(num_gpus)} if num_gpus else {}
    limits |= dict(sorted(options.resources.items()))
    requests = dict(limits)
    if options.cpus is not None:
        requests["cpu"] = str(options.cpus)
    if options.memory_gib is not None:
        requests["memory"] = f"{options.memory_gib}Gi"
    return {"limits": limits, "requests": requests}


def _security(options: KubernetesOptions) -> Manifest:
    security: Manifest = {"allowPrivilegeEscalation": False}
    if any(name.startswith("rdma/") for name in options.resources):
        # Memory that a NIC reads is locked (k8snetworkplumbingwg/k8s-rdma-shared-dev-plugin, README).
        security["capabilities"] = {"add": ["IPC_LOCK"]}
    return security


def _volumes(context: PodContext, options: KubernetesOptions) -> list[Manifest]:
    # Ranks of a node pass data through it, and a container has 64 MB of it (docs.vllm.ai, deployment/docker
    # and deployment/k8s; NCCL's user guide, troubleshooting, shared memory).
    shared: dict[str, Any] = {"medium": "Memory", "sizeLimit": f"{options.shared_memory_gib}Gi"}
    models: Manifest
    match options.cache:
        case "claim":
            models = {"persistentVolumeClaim": {"claimName": context.claim}}
        case "host":
            models = {"hostPath": {"path": options.host_path, "type": "DirectoryOrCreate"}}
        case "empty":
            models = {"emptyDir": {}}
    return [
        {"name": "shared-memory", "emptyDir": shared},
        {"name": "models", **models},
        *([{"name": "config", "configMap": {"name": context.config}}] if context.mounted else []),
    ]
