"""What a process says of its place, said so that it holds in every pod: ranks, addresses, GPUs.

A launch names nodes; a pod learns its own from its environment, which Kubernetes puts in the place of $(NAME)
in arguments and values, so no shell is needed.
"""

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Literal

from shardwright.engine.start import CHECKPOINT, HEAD_ADDRESS
from shardwright.errors import InputError
from shardwright.launch.kubernetes.options import KubernetesOptions
from shardwright.launch.kubernetes.text import literal
from shardwright.launch.launch import LOOPBACK, Process
from shardwright.record import Record

EnvEntry = dict[str, Any]


class Place(Record):
    """Where the pods of one copy find each other.

    leader: the address of the pod of node rank 0; rank: a pod's node rank; both as a pod can write them.
    """

    leader: str
    rank: str


ALONE = Place(leader=LOOPBACK, rank="0")
"""A copy in one pod."""

IN_A_GROUP = Place(leader="$(LWS_LEADER_ADDRESS)", rank="$(LWS_WORKER_INDEX)")
"""As LeaderWorkerSet sets them in every container, in front of what the container sets itself
(kubernetes-sigs/lws, docs/reference/labels-annotations-and-environment-variables and
pkg/utils/pod/pod_utils.go)."""


class FlagRow(Record):
    """A flag whose value is a place. host: where the API listens; leader: an address, or address:port."""

    flag: str
    says: Literal["host", "leader", "rank"]
    source: str


FLAGS = (
    FlagRow(flag="--host", says="host", source="vLLM 0.33.0 and SGLang 0.5.23, TensorRT-LLM 1.2: serve"),
    FlagRow(
        flag="--node-rank", says="rank", source="vLLM 0.33.0, config/parallel.py; SGLang 0.5.23; torchrun"
    ),
    FlagRow(flag="--node_rank", says="rank", source="torch 2.13.0, distributed/run.py"),
    FlagRow(flag="--master-addr", says="leader", source="vLLM 0.33.0, config/parallel.py; torchrun"),
    FlagRow(flag="--master_addr", says="leader", source="torch 2.13.0, distributed/run.py"),
    FlagRow(flag="--data-parallel-address", says="leader", source="vLLM 0.33.0, engine/arg_utils.py"),
    FlagRow(flag="--dist-init-addr", says="leader", source="SGLang 0.5.23, server_args.py"),
    FlagRow(flag="--rdzv-endpoint", says="leader", source="torch 2.13.0, distributed/run.py"),
    FlagRow(flag="--rdzv_endpoint", says="leader", source="torch 2.13.0, distributed/run.py"),
)


class VariableRow(Record):
    """An environment variable whose value is a place.

    gpus: left out, a pod sees the GPUs that it asked for and no others, from number 0;
    address: the node's own; interface: of its network.
    """

    name: str
    says: Literal["gpus", "address", "interface"]
    source: str


VARIABLES = (
    VariableRow(name="CUDA_VISIBLE_DEVICES", says="gpus", source="NVIDIA/k8s-device-plugin, README"),
    VariableRow(name="HIP_VISIBLE_DEVICES", says="gpus", source="ROCm/k8s-device-plugin, README"),
    VariableRow(name="ROCR_VISIBLE_DEVICES", says="gpus", source="ROCm/k8s-device-plugin, README"),
    VariableRow(name="VLLM_HOST_IP", says="address", source="vLLM 0.33.0, envs.py"),
    VariableRow(name="SGLANG_HOST_IP", says="address", source="SGLang 0.5.23, srt/utils"),
    VariableRow(name="NCCL_SOCKET_IFNAME", says="interface", source="NCCL 2.28, environment variables"),
    VariableRow(name="GLOO_SOCKET_IFNAME", says="interface", source="torch 2.13.0, distributed"),
)


PROGRAMS = {"python": "python3"}
"""What images call a program (kubernetes-sigs/lws, docs/examples/sglang: python3)."""


def arguments(
    process: Process, place: Place, options: KubernetesOptions, mounted: Mapping[str, str]
) -> tuple[str, ...]:
    """The process's argv for its pod.

    The program is looked up in the image: a path of this machine is cut to its name. mounted: paths of files
    as the launch has them -> in the pod. Raises InputError where a process with an API does not say where
    that listens, or holds text that no process can be given.
    """
    says = {row.flag: row.says for row in FLAGS}
    if process.port is not None and not any(word.partition("=")[0] == "--host" for word in process.argv):
        allowed = "--host among the arguments of a process with an API"
        raise InputError("launch.argv", process.argv[0], allowed)

    def plain(word: str) -> str:
        return _known(literal(mounted.get(word, word), "launch.argv"), place, options)

    def placed(kind: str, value: str) -> str:
        match kind:
            case "host":
                return literal(options.host, "host")
            case "rank":
                return place.rank if value == str(process.node_rank) else plain(value)
            case _:
                _, colon, port = value.rpartition(":")
                return f"{place.leader}:{port}" if colon and port.isdecimal() else place.leader

    program = PurePosixPath(process.argv[0]).name
    out = [literal(PROGRAMS.get(program, program), "launch.argv")]
    flag = ""
    for word in process.argv[1:]:
        name, joined, value = word.partition("=")
        if flag in says:
            out.append(placed(says[flag], word))
        elif joined and name in says:
            out.append(f"{name}={placed(says[name], value)}")
        elif joined and value in mounted:
            out.append(f"{literal(name, 'launch.argv')}={plain(value)}")
        else:
            out.append(plain(word))
        flag = "" if flag in says else word
    return tuple(out)


def _known(text: str, place: Place, options: KubernetesOptions) -> str:
    folder = literal(options.checkpoint or options.cache_path, "pods.checkpoint")
    return text.replace(HEAD_ADDRESS, place.leader).replace(CHECKPOINT, folder)


def environment(process: Process, place: Place, options: KubernetesOptions) -> Iterator[EnvEntry]:
    """The entries of a container's environment: the process's less its node's own, and the options'.

    Raises InputError where an interface cannot reach another pod, or for text that no process can be given.
    """
    says, more = {row.name: row.says for row in VARIABLES}, options.environment
    values = {name: value for name, value in process.environment.items() if says.get(name) != "gpus"}
    for name, value in sorted({**values, **more}.items()):
        field = f"environment.{name}"
        kind = says.get(name) if name not in more else None
        if kind == "address" and not (place == ALONE and value == LOOPBACK):
            yield {"name": name, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
        elif kind == "interface" and place != ALONE and value == "lo":
            raise InputError(field, value, "an interface that reaches the other pods of a copy, such as eth0")
        else:
            yield {"name": name, "value": _known(literal(value, field), place, options)}
