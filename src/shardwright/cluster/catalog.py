"""GPUs and links by name, and the cluster that a deployment describes with them."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.device import NOT_STATED, Device, Link
from shardwright.cluster.names import plain_name, resolve_name
from shardwright.cluster.own import OwnGpu
from shardwright.errors import InputError
from shardwright.record import Record, validated
from shardwright.units import parse_bytes

STATED = {"source": "stated in the deployment", "date": "not dated"}
"""What a device or link of one's own is known from."""

MEMORY_TOLERANCE = 0.05
"""GPUs of one name are sold with memories that differ by more than this share; drivers report within it."""


class Catalog(Record):
    """devices.yaml and links.yaml: rows with their sources, what a bare name means, and usual networks."""

    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    meant: dict[str, str]
    usual_scale_out: dict[str, str]
    other_scale_out: str


def device_names() -> tuple[str, ...]:
    """The devices that are known by name."""
    return tuple(device.name for device in _catalog().devices)


def link_names() -> tuple[str, ...]:
    """The links that are known by name."""
    return tuple(link.name for link in _catalog().links)


def find_device(name: str, *, field: str = "cluster.gpu", own: OwnGpu | None = None) -> Device:
    """The device of this name; case, spaces and hyphens do not count, and a part that fits one is enough.

    own: known too, where it has a data sheet. Raises InputError, with the names that come near, when none or
    several fit.

    >>> find_device("h100").name
    'H100-SXM-80GB'
    """
    meant = {plain_name(short): row for short, row in _catalog().meant.items()}
    measured = own.device if own is not None else None
    devices = {device.name: device for device in (*_catalog().devices, *([measured] if measured else []))}
    try:
        return devices[meant.get(plain_name(name)) or resolve_name(name, tuple(devices), field)]
    except InputError:
        if own is None or own.device is not None:
            raise
        allowed = f"a GPU of the catalog, or fields of your own: the profile of {own.name} states no hardware"
        raise InputError(field, name, allowed) from None


def find_link(name: str, *, field: str = "cluster.scale_out") -> Link:
    """The link of this name, as find_device.

    >>> find_link("NDR").bandwidth_bytes_per_s
    50000000000.0
    """
    return _catalog().links[link_names().index(resolve_name(name, link_names(), field))]


def recognised_device(driver_name: str, memory_bytes: int) -> Device | None:
    """The device that a driver calls by this name and gives about this memory; None where no row does.

    >>> recognised_device("NVIDIA H100 80GB HBM3", 85520809984).name
    'H100-SXM-80GB'
    """
    for device in _catalog().devices:
        if driver_name in device.driver_names:
            near = abs(memory_bytes / device.memory_bytes - 1) <= MEMORY_TOLERANCE
            return device if near else None
    return None


def build_cluster(
    *,
    gpu: str | Mapping[str, Any] | Device,
    nodes: int,
    gpus_per_node: int | None = None,
    scale_up: str | Mapping[str, Any] | Link | None = None,
    scale_out: str | Mapping[str, Any] | None = None,
    scale_up_gpus: int | None = None,
    oversubscription: float = 1.0,
) -> tuple[Cluster, tuple[str, ...]]:
    """A cluster, and a sentence for each fact that was assumed.

    gpu, scale_up and scale_out are names, or values or fields of Device and Link: a device of one's own needs
    name, memory_bytes (a number, or text such as '64 GB'), memory_bandwidth_bytes_per_s, peak_flops,
    num_sms, and scale_up_link where scale_up is not given; a link bandwidth_bytes_per_s and latency_s.
    gpus_per_node is the device's as sold where it is None. scale_up_gpus: GPUs of one scale-up domain, a
    node's or those of several whole nodes; where it is None, a node's, or as many as the device is sold with
    in one domain that spans nodes. oversubscription: of the network between domains, as Cluster has it.

    Raises InputError for an unknown name, a missing or unknown field, or a value out of bounds.
    """
    up = None if scale_up is None else _link(scale_up, "scale-up", "cluster.scale_up")
    device = gpu if isinstance(gpu, Device) else find_device(gpu) if isinstance(gpu, str) else _own(gpu, up)
    if up is None:
        up = _link(device.scale_up_link, "scale-up", "cluster.gpu.scale_up_link")
    catalog = _catalog()
    usual_out = catalog.usual_scale_out.get(device.name, catalog.other_scale_out)
    out = _link(usual_out if scale_out is None else scale_out, "scale-out", "cluster.scale_out")
    values = {"device": device, "scale_up": up, "scale_out": out, "nodes": nodes}
    values["oversubscription"] = oversubscription
    values["gpus_per_node"] = device.node_gpus if gpus_per_node is None else gpus_per_node
    single = validated(Cluster, values, field="cluster")
    domain = _nodes_per_domain(single, scale_up_gpus)
    cluster = validated(Cluster, {**values, "nodes_per_domain": domain}, field="cluster")
    return cluster, (
        *_assumed_domain(cluster, scale_up_gpus),
        *_assumed_network(cluster, scale_out),
        *_assumed_node(cluster, scale_up),
    )


def _nodes_per_domain(cluster: Cluster, scale_up_gpus: int | None) -> int:
    """Nodes of one scale-up domain, at most all."""
    device, per_node = cluster.device, cluster.gpus_per_node
    if scale_up_gpus is None:
        spans = device.scale_up_gpus > device.node_gpus and cluster.scale_up.name == device.scale_up_link
        scale_up_gpus = max(per_node, device.scale_up_gpus // per_node * per_node) if spans else per_node
    elif scale_up_gpus % per_node:
        allowed = f"the {per_node} GPUs of a node, or those of several whole nodes"
        raise InputError("cluster.scale_up_gpus", scale_up_gpus, allowed)
    return min(scale_up_gpus // per_node, cluster.nodes)


def _assumed_domain(cluster: Cluster, stated: int | None) -> tuple[str, ...]:
    if stated is not None or cluster.nodes_per_domain == 1:
        return ()
    device, link = cluster.device, cluster.scale_up.name
    return (
        f"{cluster.nodes_per_domain} nodes of {cluster.gpus_per_node} share one {link} domain of "
        f"{cluster.gpus_per_domain} GPUs: {device.name} is sold with {device.scale_up_gpus} to a domain.",
    )


def _assumed_network(cluster: Cluster, stated: object) -> tuple[str, ...]:
    if stated is not None or cluster.nodes <= cluster.nodes_per_domain:
        return ()
    rate = f"{cluster.scale_out.bandwidth_bytes_per_s / 1e9:g} GB/s"
    joined = "The nodes" if cluster.nodes_per_domain == 1 else "The scale-up domains"
    return (
        f"{joined} are joined by {cluster.scale_out.name} ({rate} a GPU and direction): none was stated.",
    )


def _assumed_node(cluster: Cluster, stated: object) -> tuple[str, ...]:
    device, up = cluster.device, cluster.scale_up
    if cluster.gpus_per_node <= device.scale_up_gpus:
        return ()
    joined = f"The {cluster.gpus_per_node} GPUs of a node are joined by {up.name}"
    if device.scale_up_gpus > 1:
        known = f"{device.name} is known with {device.scale_up_gpus} to a node"
        return (f"{joined} at its full rate, though {known}.",)
    if stated is not None:
        return ()
    rate = f"{up.bandwidth_bytes_per_s / 1e9:g} GB/s"
    return (
        f"{joined} ({rate} a GPU and direction), at its full rate whatever lies between: none was stated.",
    )


def _own(fields: Mapping[str, Any], scale_up: Link | None) -> Device:
    """A device of one's own; its memory may be text."""
    if not isinstance(fields, Mapping):
        raise InputError("cluster.gpu", fields, "a name, or the fields of a device")
    stated = {"vendor": NOT_STATED, **STATED, **fields}
    if scale_up is not None:
        stated.setdefault("scale_up_link", scale_up.name)
    if "memory_bytes" in stated:
        stated["memory_bytes"] = parse_bytes(stated["memory_bytes"], field="cluster.gpu.memory_bytes")
    return validated(Device, stated, field="cluster.gpu")


def _link(stated: str | Mapping[str, Any] | Link, kind: str, field: str) -> Link:
    """A link by name, or of one's own, that serves as `kind`."""
    if isinstance(stated, Link):
        link = stated
    elif isinstance(stated, str):
        link = find_link(stated, field=field)
    elif not isinstance(stated, Mapping):
        raise InputError(field, stated, "a name, or the fields of a link")
    else:
        link = validated(Link, {"name": kind, "kind": kind, **STATED, **stated}, field=field)
    if link.kind != kind:
        allowed = ", ".join(row.name for row in _catalog().links if row.kind == kind)
        raise InputError(field, link.name, f"a {kind} link: {allowed}")
    return link


@cache
def _catalog() -> Catalog:
    """The catalogue, read once."""
    folder = Path(__file__).parent
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("devices.yaml", "links.yaml")]
    devices, links = (yaml.load(text, Loader=yaml.CSafeLoader) for text in texts)
    return Catalog.model_validate({**devices, **links})
