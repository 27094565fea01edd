"""A cluster as a deployment states it: named, in fields of its own, or read from this machine."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardwright.cluster.catalog import build_cluster, find_device
from shardwright.cluster.cluster import Cluster
from shardwright.cluster.hosts import Host, parse_hosts, read_hosts
from shardwright.cluster.own import OwnGpu, own_in_words
from shardwright.errors import InputError
from shardwright.record import Count, Record, validated

if TYPE_CHECKING:
    from shardwright.cluster.machine import Machine

AUTO = "auto"


class ClusterFields(Record):
    """The section `cluster` of a deployment."""

    gpu: Any
    """A name, the fields of a device, or auto: that of this machine."""
    nodes: Count | None = None
    hosts: Any = None
    """Names of the nodes: a list, or a host file."""
    gpus_per_node: Count | None = None
    scale_up: Any = None
    scale_out: Any = None
    scale_up_gpus: Count | None = None
    """GPUs of one scale-up domain, where it spans nodes."""
    oversubscription: float = 1.0
    """Of the network between domains, above its leaf switches: 2 where half of what the NICs send can
    cross."""


def stated_cluster(
    given: Any,
    folder: Path = Path(),
    machine: "Callable[[], Machine] | None" = None,
    own: OwnGpu | None = None,
) -> tuple[Cluster, tuple[str, ...]]:
    """The cluster, and a sentence for each fact found or assumed; host files are relative to `folder`.

    own: a GPU that is known by its name beside the catalog's, joined by its link where none is stated.
    Raises InputError, and EnvironmentLacksError where this machine is to be read and shows no GPU.
    """
    if given == AUTO:
        given = {"gpu": AUTO}
    if not isinstance(given, Mapping):
        raise InputError("cluster", given, "auto (this machine), or gpu, nodes and gpus_per_node")
    fields = validated(ClusterFields, dict(given))
    hosts = _hosts(fields.hosts, folder)
    nodes = _agreed("nodes", fields.nodes, len(hosts) or None, "hosts") or 1
    slots = hosts[0].slots if hosts else None
    per_node = _agreed("gpus_per_node", fields.gpus_per_node, slots, "slots of cluster.hosts")
    gpu, scale_up = fields.gpu, fields.scale_up
    found: tuple[str, ...] = ()
    if gpu == AUTO:
        here = (machine or _this_machine)()
        if per_node is not None and per_node > here.num_gpus:
            allowed = f"at most the {here.num_gpus} GPUs of this machine"
            raise InputError("cluster.gpus_per_node", per_node, allowed)
        per_node = per_node or here.num_gpus
        gpu, scale_up, found = here.device, scale_up or here.scale_up, here.found
    elif isinstance(gpu, str):
        gpu = find_device(gpu, own=own)
        if own is not None and gpu == own.device:
            link = own.scale_up if scale_up is None else None
            scale_up, found = link or scale_up, (own_in_words(gpu, link),)
    cluster, assumed = build_cluster(
        gpu=gpu,
        nodes=nodes,
        gpus_per_node=per_node,
        scale_up=scale_up,
        scale_out=fields.scale_out,
        scale_up_gpus=fields.scale_up_gpus,
        oversubscription=fields.oversubscription,
    )
    return cluster, (*found, *_alike(cluster, hosts, fields.gpu == AUTO), *assumed)


def _this_machine() -> "Machine":
    from shardwright.cluster.machine import read_machine  # noqa: PLC0415 - only `auto` pays for the import

    return read_machine()


def _hosts(given: Any, folder: Path) -> tuple[Host, ...]:
    if given is None:
        return ()
    if isinstance(given, str) and given and "\0" not in given:
        return read_hosts(folder / given)
    if not isinstance(given, list):
        raise InputError("cluster.hosts", given, "a list of hosts, or a host file")
    return parse_hosts(given)


def _agreed(field: str, stated: int | None, counted: int | None, where: str) -> int | None:
    """What is stated and what the hosts say, which must be the same where both are there."""
    if stated is not None and counted is not None and stated != counted:
        raise InputError(f"cluster.{field}", stated, f"{counted}, as {where} has, or nothing")
    return counted if stated is None else stated


def _alike(cluster: Cluster, hosts: tuple[Host, ...], auto: bool) -> tuple[str, ...]:
    if cluster.nodes == 1 or not (auto or hosts):
        return ()
    shown = (
        f" ({', '.join(host.name for host in hosts[:4])}{', ...' if len(hosts) > 4 else ''})" if hosts else ""
    )
    like = "this machine" if auto else "one another"
    return (f"The {cluster.nodes} nodes{shown} are taken to be equal to {like}: none was asked.",)
