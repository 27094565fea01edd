"""The GPUs of a row: whose they are in the device catalog, and the cluster that they make."""

from functools import cache
from importlib.resources import files
from math import gcd

import yaml

from shardwright.calibrate.measured.refusal import RefusedError
from shardwright.calibrate.measured.row import Row
from shardwright.cluster.catalog import build_cluster, find_device
from shardwright.cluster.cluster import Cluster
from shardwright.cluster.device import Device
from shardwright.cluster.names import plain_name
from shardwright.cost.profile import Profile
from shardwright.record import Count, Record


class Spelling(Record):
    """A source's name of a GPU. dies: devices of the catalog in one of what the source counts."""

    device: str
    dies: Count = 1
    source: str


def device_of(row: Row, own: Profile | None = None) -> tuple[Device, int]:
    """The device of the row's GPUs, and how many of it one of them is; own: that of a profile is known too.

    Raises InputError where it is unknown.
    """
    if own is not None and own.hardware is not None and plain_name(row.gpu) == plain_name(own.device):
        return own.hardware, 1
    return _named(row.gpu)


def cluster_of(row: Row, own: Profile | None = None) -> Cluster:
    """The row's GPUs on as few nodes as the device is sold in, or on as many as the row states.

    Those of one's own are on one node where it states none, joined by the link of their profile.
    """
    device, dies = device_of(row, own)
    if own is not None and device == own.hardware:
        nodes = row.nodes or 1
        if row.gpus % nodes:
            raise RefusedError("nodes", f"{row.gpus} GPUs are not spread evenly over {nodes} nodes.")
        each = row.gpus // nodes
        return build_cluster(gpu=device, nodes=nodes, gpus_per_node=each, scale_up=own.scale_up)[0]
    total = row.gpus * dies
    if row.nodes is not None and total % row.nodes:
        raise RefusedError("nodes", f"{total} GPUs are not spread evenly over {row.nodes} nodes.")
    return _cluster(device.name, total, row.nodes)


@cache
def _named(gpu: str) -> tuple[Device, int]:
    spelling = _spellings().get(plain_name(gpu))
    if spelling is None:
        return find_device(gpu, field="gpu"), 1
    return find_device(spelling.device), spelling.dies


@cache
def _cluster(device: str, num_gpus: int, nodes: int | None) -> Cluster:
    found = find_device(device)
    each = num_gpus // nodes if nodes else gcd(num_gpus, found.node_gpus)
    if nodes is None and num_gpus <= found.node_gpus:
        each = num_gpus
    return build_cluster(gpu=found, nodes=num_gpus // each, gpus_per_node=each)[0]


@cache
def _spellings() -> dict[str, Spelling]:
    text = files("shardwright.calibrate.measured").joinpath("gpus.yaml").read_text(encoding="utf-8")
    rows = yaml.load(text, Loader=yaml.CSafeLoader)["gpus"]
    return {plain_name(name): Spelling.model_validate(row) for name, row in rows.items()}
