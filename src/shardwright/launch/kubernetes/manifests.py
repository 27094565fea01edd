"""A launch in pods: the plan's engine as Kubernetes manifests."""

import hashlib
import re

from shardwright.errors import InputError
from shardwright.launch.kubernetes.copies import copies
from shardwright.launch.kubernetes.images import image_for
from shardwright.launch.kubernetes.names import dns_label, label_value
from shardwright.launch.kubernetes.notes import notes
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.kubernetes.places import ALONE, IN_A_GROUP, Place
from shardwright.launch.kubernetes.pod import CONFIG_FOLDER, PodContext, gpu_resource
from shardwright.launch.kubernetes.text import Manifest, dumped, storable
from shardwright.launch.kubernetes.times import times
from shardwright.launch.kubernetes.workloads import deployment, job, leader_worker_set, rendezvous, service
from shardwright.launch.launch import Launch, LaunchFile, Process
from shardwright.plan.file import PLAN_FILE
from shardwright.plan.plan import Plan
from shardwright.record import Record

FOLDER = "kubernetes"
MOST_CONFIG_BYTES = 2**20
"""A ConfigMap holds no more (kubernetes.io, concepts/configuration/configmap)."""


class KubernetesFiles(Record):
    """files: to apply, all of them (`kubectl apply -f kubernetes/`); notes: what to know before."""

    files: tuple[LaunchFile, ...]
    notes: tuple[str, ...]


def kubernetes_files(launch: Launch, plan: Plan, options: KubernetesOptions) -> KubernetesFiles:
    """The plan's engine in pods, one a process of the launch.

    A server whose copies stand on one node each: a Deployment; over several: a LeaderWorkerSet; and a Service
    to the processes with an API. A launch without an API ends by itself: a Job a copy.
    Raises InputError for what cannot run so: several processes of a copy on a node, workers that differ in
    more than their rank, an engine that needs an operator, no image that is known, options without effect.
    """
    groups = copies(launch)
    _check(launch, options)
    name = options.name or dns_label(launch.name)
    serves = any(process.port is not None for process in launch.processes)
    config = _config(launch, plan, groups[0])
    context = _context(launch, plan, options, name, serves, config)
    manifests: dict[str, Manifest] = {}
    if options.cache == "claim" and options.claim is None:
        manifests["claim"] = _claim(context, options, several=len(launch.processes) > 1)
    if config:
        manifests["configmap"] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": context.config},
            "data": {key: text for key, _, text in config},
        }
    if not serves:
        for number, group in enumerate(groups):
            its_name = f"{name}-{number}"
            place = Place(leader=f"{its_name}-0.{its_name}", rank="$(JOB_COMPLETION_INDEX)")
            its_context = context.model_copy(update={"place": ALONE if len(group) == 1 else place})
            manifests[f"job-{number}"] = job(its_name, group, its_context, options)
            if len(group) > 1:
                manifests[f"rendezvous-{number}"] = rendezvous(its_name, its_context)
    else:
        if launch.nodes_per_copy == 1:
            manifests["deployment"] = deployment(name, groups, context, options)
        else:
            manifests["leaderworkerset"] = leader_worker_set(name, groups, context, options)
        manifests["service"] = service(name, groups[0], context, options)
    return KubernetesFiles(
        files=tuple(
            LaunchFile(path=f"{FOLDER}/{stem}.yaml", text=dumped(_placed(manifest, context, options)))
            for stem, manifest in manifests.items()
        ),
        notes=notes(launch, plan, options, context.times, name=name, serves=serves),
    )


def _check(launch: Launch, options: KubernetesOptions) -> None:
    """Raise InputError for an option that would do nothing."""
    if options.cache != "claim" and (options.claim or options.storage_class):
        raise InputError("pods.cache", options.cache, "claim, which the volume claim stated is for")
    if options.claim and options.storage_class:
        raise InputError("pods.storage_class", options.storage_class, "none for a claim that exists")
    if options.exclusive_topology and launch.nodes_per_copy == 1:
        allowed = "none where a copy stands on one node"
        raise InputError("pods.exclusive_topology", options.exclusive_topology, allowed)


def _context(
    launch: Launch,
    plan: Plan,
    options: KubernetesOptions,
    name: str,
    serves: bool,
    config: list[tuple[str, str, str]],
) -> PodContext:
    vendor = plan.deployment.cluster.device.vendor
    annotations = {
        "shardwright/layout": storable(launch.layout, "layout"),
        "shardwright/model": storable(plan.deployment.model.name, "model"),
    }
    labels = {
        "app.kubernetes.io/name": label_value(launch.engine),
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/version": label_value(launch.version),
        "app.kubernetes.io/managed-by": "shardwright",
    }
    digest = hashlib.sha256("".join(f"{key}\0{text}\0" for key, _, text in config).encode()).hexdigest()
    return PodContext(
        image=image_for(launch.engine, launch.version, vendor, options.image),
        gpu_resource=gpu_resource(vendor, options),
        place=IN_A_GROUP if serves and launch.nodes_per_copy > 1 else ALONE,
        health=launch.health,
        times=times(plan, options),
        labels=labels,
        annotations=annotations,
        mounted={path: f"{CONFIG_FOLDER}/{key}" for key, path, _ in config},
        config=f"{name}-config",
        digest=digest,
        claim=options.claim or f"{name}-models",
    )


def _config(launch: Launch, plan: Plan, group: tuple[Process, ...]) -> list[tuple[str, str, str]]:
    """Files that the processes of a copy name in their arguments: key in the ConfigMap, path, text.

    The plan itself is one that our runtime reads. Raises InputError for more than a ConfigMap holds.
    """
    words = {word for process in group for argument in process.argv for word in (argument, _value(argument))}
    texts = {file.path: file.text for file in launch.files}
    if PLAN_FILE in words:
        texts.setdefault(PLAN_FILE, plan.model_dump_json(indent=2) + "\n")
    found: list[tuple[str, str, str]] = []
    for path, text in texts.items():
        if path in words:
            key = re.sub(r"[^-._a-zA-Z0-9]", "-", path)
            taken = {other for other, _, _ in found}
            found.append((f"{len(found)}-{key}" if key in taken else key, path, storable(text, path)))
    size = sum(len(text.encode()) for _, _, text in found)
    if size > MOST_CONFIG_BYTES:
        raise InputError("launch.files", f"{size} bytes", f"at most the {MOST_CONFIG_BYTES} of a ConfigMap")
    return found


def _value(argument: str) -> str:
    return argument.partition("=")[2]


def _claim(context: PodContext, options: KubernetesOptions, *, several: bool) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": context.claim},
        "spec": {
            "accessModes": ["ReadWriteMany" if several else "ReadWriteOnce"],
            "resources": {"requests": {"storage": f"{context.times.claim_gib}Gi"}},
            **({"storageClassName": options.storage_class} if options.storage_class else {}),
        },
    }


def _placed(manifest: Manifest, context: PodContext, options: KubernetesOptions) -> Manifest:
    """The manifest with the labels, the annotations and the namespace that all have."""
    metadata = manifest["metadata"]
    return {
        **manifest,
        "metadata": {
            "name": metadata["name"],
            **({"namespace": options.namespace} if options.namespace else {}),
            "labels": {**context.labels, **metadata.get("labels", {})},
            "annotations": {**context.annotations, **metadata.get("annotations", {})},
        },
    }
