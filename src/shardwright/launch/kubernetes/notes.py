"""What somebody who applies the manifests should know, in sentences."""

from collections.abc import Iterator

from shardwright.engine.start import CHECKPOINT
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.kubernetes.times import Times
from shardwright.launch.launch import Launch
from shardwright.plan.plan import Plan


def notes(
    launch: Launch, plan: Plan, options: KubernetesOptions, times: Times, *, name: str, serves: bool
) -> tuple[str, ...]:
    """The notes that hold for these manifests, the most surprising first."""
    return (
        *_api(launch, options, name, serves),
        *_nodes(launch, plan, options),
        *_models(launch, plan, options, times),
        *_times(options, times, serves),
        *_environment(launch),
    )


def _api(launch: Launch, options: KubernetesOptions, name: str, serves: bool) -> Iterator[str]:
    if serves:
        yield (
            f"The API listens on {options.host} in its pod, as the Service {name}-api and the probes need: "
            "whatever reaches pods of this cluster reaches it; a NetworkPolicy narrows that."
        )
    else:
        yield "Nothing here serves: each copy is a Job that ends with its run; `kubectl logs` has its output."
    if serves and launch.nodes_per_copy > 1:
        yield (
            "A copy spans nodes: the cluster needs the controller of leaderworkerset.x-k8s.io/v1, "
            "which restarts a copy whole when one of its pods fails."
        )


def _nodes(launch: Launch, plan: Plan, options: KubernetesOptions) -> Iterator[str]:
    device = plan.deployment.cluster.device.name
    if not options.node_selector:
        yield (
            f"The plan is for {device}; the pods take any GPU of that resource: "
            "where the cluster has others too, state node_selector."
        )
    gpus = max(len(process.gpus) for process in launch.processes)
    in_node = plan.deployment.cluster.gpus_per_node
    if launch.nodes_per_copy > 1 and gpus < in_node:
        yield f"A pod asks for {gpus} of a node's {in_node} GPUs: pods of one copy may share a node."
    if launch.nodes_per_copy > 1 and not any("rdma" in resource for resource in options.resources):
        yield (
            "No RDMA device is asked for: unless the pods get one otherwise, NCCL goes between nodes over "
            "sockets, far under the link that the plan counts on; state resources as your device plugin "
            "names them (rdma/ib: 1)."
        )
    if options.cpus is None and options.memory_gib is None:
        yield "CPUs and memory are not asked for: state cpus and memory_gib where nodes are shared."


def _models(launch: Launch, plan: Plan, options: KubernetesOptions, times: Times) -> Iterator[str]:
    several = len(launch.processes) > 1
    match options.cache:
        case "claim" if options.claim is None:
            how = "that many pods can write" if several else "that one pod can write"
            yield (
                f"A volume of {times.claim_gib} GiB {how} is claimed for the model"
                + (
                    f" of class {options.storage_class}."
                    if options.storage_class
                    else " of the default class."
                )
            )
        case "claim":
            yield f"The volume claim {options.claim} must exist" + (
                ", and be one that many pods can write." if several else "."
            )
        case "host":
            yield f"Each node keeps the model in its folder {options.host_path}."
        case "empty":
            yield "Every start of a pod downloads the model."
    if several and options.cache == "claim":
        yield "Fill the volume before the first start: pods that all download into it wait for each other."
    if any(CHECKPOINT in word for process in launch.processes for word in process.argv):
        yield f"The checkpoint's files are read in {options.checkpoint or options.cache_path} of the pods."
    folder = plan.deployment.model.name
    if folder.startswith(("/", ".", "~")) and not folder.startswith(options.cache_path + "/"):
        yield (
            f"The model is a folder of this machine: what the command names must be in the pods, under "
            f"{options.cache_path} or in the image."
        )


def _times(options: KubernetesOptions, times: Times, serves: bool) -> Iterator[str]:
    if not serves:
        return
    yield (
        f"A pod may take {times.start_s} s to answer: {times.weight_bytes / 1e9:.1f} GB of weights at "
        f"an assumed {options.read_bytes_per_s / 1e6:g} MB/s and {options.start_s} s to compile and warm up."
    )
    yield (
        f"A pod that is told to stop serves for {times.drain_s} s more, as long as a request of the plan's "
        "lengths is predicted to take at most, and then has 30 s to end."
    )


def _environment(launch: Launch) -> Iterator[str]:
    names = {name for process in launch.processes for name in process.environment}
    interfaces = sorted(name for name in names if name.endswith("_SOCKET_IFNAME"))
    if interfaces:
        yield f"{', '.join(interfaces)}: as the launch has them; in most clusters a pod's interface is eth0."
