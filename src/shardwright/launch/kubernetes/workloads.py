"""The objects that keep pods running, and those that reach them."""

from collections.abc import Sequence

from shardwright.errors import InputError
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.kubernetes.pod import API_PORT, PodContext, pod_template
from shardwright.launch.kubernetes.text import Manifest
from shardwright.launch.launch import Process

Copies = Sequence[tuple[Process, ...]]

INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
SERVER, LEADER, WORKER, RUN = "server", "leader", "worker", "run"

TURNOVER_S = 600
"""Over the time to start, before a Deployment that does not get on is said to have failed: image pulls."""


def deployment(name: str, groups: Copies, context: PodContext, options: KubernetesOptions) -> Manifest:
    """Copies of one pod each. An update takes the GPUs of the copy that it replaces: there are no others."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": len(groups),
            "selector": {"matchLabels": {INSTANCE: name, COMPONENT: SERVER}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "progressDeadlineSeconds": context.times.start_s + TURNOVER_S,
            "template": pod_template(groups[0][0], context, options, component=SERVER),
        },
    }


def leader_worker_set(name: str, groups: Copies, context: PodContext, options: KubernetesOptions) -> Manifest:
    """Copies of several pods each (leaderworkerset.x-k8s.io/v1): a pod that fails takes its copy with it,
    as the ranks of a copy only start together."""
    leader, *workers = groups[0]
    templates = [pod_template(worker, context, options, component=WORKER) for worker in workers]
    exclusive = {"leaderworkerset.sigs.k8s.io/exclusive-topology": options.exclusive_topology}
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": name, "annotations": exclusive if options.exclusive_topology else {}},
        "spec": {
            "replicas": len(groups),
            "leaderWorkerTemplate": {
                "size": len(groups[0]),
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": pod_template(leader, context, options, component=LEADER),
                "workerTemplate": _one_of(templates),
            },
            "rolloutStrategy": {
                "type": "RollingUpdate",
                "rollingUpdateConfiguration": {"maxSurge": 0, "maxUnavailable": 1},
            },
            # Workers may not wait for a leader that is ready: it is so when they have joined it.
            "startupPolicy": "LeaderCreated",
        },
    }


def job(name: str, group: tuple[Process, ...], context: PodContext, options: KubernetesOptions) -> Manifest:
    """One copy that ends by itself, a pod a node that knows its number
    (kubernetes.io, tasks/job/job-with-pod-to-pod-communication)."""
    templates = [pod_template(one, context, options, component=RUN, serving=False) for one in group]
    template = _one_of(templates)
    template["metadata"]["labels"]["shardwright/copy"] = name
    template["spec"]["restartPolicy"] = "Never"
    if len(group) > 1:
        template["spec"]["subdomain"] = name
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "completions": len(group),
            "parallelism": len(group),
            "completionMode": "Indexed",
            "backoffLimit": 0,
            "template": template,
        },
    }


def rendezvous(name: str, context: PodContext) -> Manifest:
    """A name for each pod of a Job, before it is ready too: without an address of its own."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {INSTANCE: context.labels[INSTANCE], "shardwright/copy": name},
        },
    }


def service(
    name: str, group: tuple[Process, ...], context: PodContext, options: KubernetesOptions
) -> Manifest:
    """One address inside the cluster for the API of every copy.

    Not under the name of a LeaderWorkerSet, which makes a Service of its own by that name.
    """
    listening = [process.port for process in group if process.port is not None]
    if group[0].port is None or len(listening) > 1:
        raise InputError("launch.processes", listening, "one API a copy, on its first node")
    component = SERVER if len(group) == 1 else LEADER
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"{name}-api"},
        "spec": {
            "type": "ClusterIP",
            "selector": {INSTANCE: context.labels[INSTANCE], COMPONENT: component},
            "ports": [
                {
                    "name": API_PORT,
                    "port": options.service_port or group[0].port,
                    "targetPort": API_PORT,
                    "protocol": "TCP",
                }
            ],
        },
    }


def _one_of(templates: list[Manifest]) -> Manifest:
    """The template that all of them are. Raises InputError where pods differ by more than they are told."""
    for rank, template in enumerate(templates[1:], start=1):
        if template != templates[0]:
            mine, first = (one["spec"]["containers"][0] for one in (template, templates[0]))
            differs = [key for key in mine if mine[key] != first.get(key)] or ["pods"]
            allowed = f"processes that differ in their rank alone, but they do in {', '.join(differs)}"
            raise InputError("launch.processes", f"process {rank} of those alike", allowed)
    return templates[0]
