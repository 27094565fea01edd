"""GPUs and links by name, and the cluster that a deployment describes with them."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.device import Device, Link
from shardwright.errors import InputError
from shardwright.record import Record, validated
from shardwright.units import parse_bytes

STATED = {"source": "stated in the deployment", "date": "not dated"}
"""What a device or link of one's own is known from."""


class Catalog(Record):
    """catalog.yaml: rows with their sources, and the network that usually comes with each device."""

    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    usual_scale_out: dict[str, str]
    other_scale_out: str


def device_names() -> tuple[str, ...]:
    """The devices that are known by name."""
    return tuple(device.name for device in _catalog().devices)


def link_names() -> tuple[str, ...]:
    """The links that are known by name."""
    return tuple(link.name for link in _catalog().links)


def find_device(name: str, *, field: str = "cluster.gpu") -> Device:
    """The device of this name; case, spaces and hyphens do not count, and a part that fits one is enough.

    Raises InputError, with the names that come near, when none or several fit.

    >>> find_device("h100").name
    'H100-SXM-80GB'
    """
    return _catalog().devices[device_names().index(_resolve(name, device_names(), field))]


def find_link(name: str, *, field: str = "cluster.scale_out") -> Link:
    """The link of this name, as find_device.

    >>> find_link("NDR").bandwidth_bytes_per_s
    50000000000.0
    """
    return _catalog().links[link_names().index(_resolve(name, link_names(), field))]


def build_cluster(
    *,
    gpu: str | Mapping[str, Any],
    nodes: int,
    gpus_per_node: int,
    scale_up: str | Mapping[str, Any] | None = None,
    scale_out: str | Mapping[str, Any] | None = None,
) -> tuple[Cluster, tuple[str, ...]]:
    """A cluster, and a sentence for each fact that was assumed.

    gpu, scale_up and scale_out are names, or the fields of Device and Link: a device of one's own needs
    name, memory_bytes (a number, or text such as '64 GB'), memory_bandwidth_bytes_per_s, peak_flops,
    num_sms, and scale_up_link where scale_up is not given; a link bandwidth_bytes_per_s and latency_s.

    Raises InputError for an unknown name, a missing or unknown field, or a value out of bounds.
    """
    up = None if scale_up is None else _link(scale_up, "scale-up", "cluster.scale_up")
    device = find_device(gpu) if isinstance(gpu, str) else _own_device(gpu, up)
    if up is None:
        up = _link(device.scale_up_link, "scale-up", "cluster.gpu.scale_up_link")
    catalog = _catalog()
    usual_out = catalog.usual_scale_out.get(device.name, catalog.other_scale_out)
    out = _link(usual_out if scale_out is None else scale_out, "scale-out", "cluster.scale_out")
    parts = {"device": device, "scale_up": up, "scale_out": out}
    cluster = validated(Cluster, {**parts, "nodes": nodes, "gpus_per_node": gpus_per_node}, field="cluster")
    assumed = []
    if scale_out is None and nodes > 1:
        rate = f"{out.bandwidth_bytes_per_s / 1e9:g} GB/s"
        assumed.append(f"The nodes are joined by {out.name} ({rate} a GPU and direction): none was stated.")
    if gpus_per_node > device.scale_up_gpus:
        assumed.append(
            f"The {gpus_per_node} GPUs of a node are joined by {up.name} at its full rate, "
            f"though {device.name} is sold with {device.scale_up_gpus} to a node."
        )
    return cluster, tuple(assumed)


def _own_device(fields: Mapping[str, Any], scale_up: Link | None) -> Device:
    """A device of one's own; its memory may be text."""
    if not isinstance(fields, Mapping):
        raise InputError("cluster.gpu", fields, "a name, or the fields of a device")
    stated = {"vendor": "not stated", **STATED, **fields}
    if scale_up is not None:
        stated.setdefault("scale_up_link", scale_up.name)
    if "memory_bytes" in stated:
        stated["memory_bytes"] = parse_bytes(stated["memory_bytes"], field="cluster.gpu.memory_bytes")
    return validated(Device, stated, field="cluster.gpu")


def _link(stated: str | Mapping[str, Any], kind: str, field: str) -> Link:
    """A link by name, or of one's own, that serves as `kind`."""
    if isinstance(stated, str):
        link = find_link(stated, field=field)
    elif not isinstance(stated, Mapping):
        raise InputError(field, stated, "a name, or the fields of a link")
    else:
        link = validated(Link, {"name": kind, "kind": kind, **STATED, **stated}, field=field)
    if link.kind != kind:
        allowed = ", ".join(row.name for row in _catalog().links if row.kind == kind)
        raise InputError(field, link.name, f"a {kind} link: {allowed}")
    return link


def _resolve(name: str, known: tuple[str, ...], field: str) -> str:
    """The one known name that is `name`, or else starts or ends with it, contains it, or all its words."""
    wanted = _plain(name)
    if wanted == "auto":
        raise InputError(field, name, f"a name ({', '.join(known)}): this machine is not detected yet")
    plain = {_plain(row): row for row in known}
    words = [_plain(word) for word in re.split(r"[\s_-]+", name)]
    tests = (
        lambda key: key == wanted,
        lambda key: key.startswith(wanted),
        lambda key: key.endswith(wanted),
        lambda key: wanted in key,
        lambda key: all(word in key for word in words),
    )
    for fits in tests if wanted else ():
        found = [row for key, row in plain.items() if fits(key)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(field, name, f"one of those that it fits: {', '.join(found)}")
    near = [plain[key] for key in get_close_matches(wanted, plain, n=2, cutoff=0.35)]
    hint = f" (near: {', '.join(near)})" if near else ""
    raise InputError(field, name, f"one of {', '.join(known)}{hint}, or fields of your own")


def _plain(name: str) -> str:
    """A name without case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "", name).lower()


@cache
def _catalog() -> Catalog:
    """The catalogue, read once."""
    text = Path(__file__).with_name("catalog.yaml").read_text(encoding="utf-8")
    return Catalog.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))
