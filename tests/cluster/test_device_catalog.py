"""The catalogue of GPUs and links, and clusters built from names or from fields of one's own."""

from typing import Any

import pytest

from shardwright.cluster.catalog import (
    _catalog,
    build_cluster,
    device_names,
    find_device,
    find_link,
    link_names,
)
from shardwright.errors import InputError
from shardwright.units import MIB

OWN: dict[str, Any] = {
    "name": "X1",
    "memory_bytes": "64 GB",
    "memory_bandwidth_bytes_per_s": 2e12,
    "peak_flops": {"bf16": 3e14},
    "num_sms": 100,
}
OWN_LINK = {"bandwidth_bytes_per_s": 2e11, "latency_s": 1e-6}


def test_every_row_is_dense_sourced_and_joined() -> None:
    catalog = _catalog()
    assert len(set(device_names())) == len(device_names()) >= 6
    for device in catalog.devices:
        assert find_link(device.scale_up_link).kind == "scale-up"
        assert catalog.usual_scale_out[device.name] in link_names()
        flops = device.peak_flops
        assert flops["bf16"] == flops["fp16"]
        assert flops["int8"] == pytest.approx(2 * flops["bf16"], rel=1e-3)
        assert flops.get("fp8", flops["int8"]) == flops["int8"]
        assert device.source
    for name in catalog.usual_scale_out.values():
        assert find_link(name).kind == "scale-out"
    assert set(catalog.usual_scale_out) == set(device_names())


@pytest.mark.parametrize(
    ("name", "mebibytes"),
    [
        ("A100-SXM-64GB", 65536),
        ("A100-SXM-80GB", 81920),
        ("H100-SXM-80GB", 81559),
        ("H200-SXM-141GB", 143771),
        ("B200-SXM-180GB", 183359),
    ],
)
def test_memory_is_what_nvidia_smi_prints(name: str, mebibytes: int) -> None:
    assert find_device(name).memory_bytes == mebibytes * MIB


def test_peaks_follow_from_sms_and_clock() -> None:
    """Dense bf16 FMA a clock and SM: 1024 on Ampere, 2048 on Hopper; boost clocks of the white papers."""
    for name, fma, clock in (
        ("A100-SXM-80GB", 1024, 1.410e9),
        ("A100-SXM-64GB", 1024, 1.410e9),
        ("H100-SXM-80GB", 2048, 1.830e9),
    ):
        device = find_device(name)
        assert device.peak_flops["bf16"] == pytest.approx(device.num_sms * fma * 2 * clock, rel=2e-3)


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("H100", "H100-SXM-80GB"),
        ("h100 sxm 80gb", "H100-SXM-80GB"),
        ("mi300x", "MI300X-192GB"),
        ("A100 64GB", "A100-SXM-64GB"),
        ("A100-80", "A100-SXM-80GB"),
        ("a100-sxm64", "A100-SXM-64GB"),
        ("64gb", "A100-SXM-64GB"),
        ("a100", None),
        ("", None),
    ],
)
def test_names_are_found_by_a_part_that_fits_one(stated: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(InputError, match="A100-SXM-64GB"):
            find_device(stated)
    else:
        assert find_device(stated).name == name


def test_links_by_a_part() -> None:
    assert [find_link(part).name for part in ("hdr", "NDR", "nvlink 4", "xgmi")] == [
        "InfiniBand-HDR",
        "InfiniBand-NDR",
        "NVLink4",
        "xGMI-MI300X",
    ]


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(InputError, match=r"cluster.gpu: 'H10O' .*\(near: H100-SXM-80GB"):
        find_device("H10O")


def test_unstated_network_is_an_assumption_only_between_nodes() -> None:
    cluster, assumed = build_cluster(gpu="H100", nodes=2, gpus_per_node=8)
    assert (cluster.num_gpus, cluster.scale_up.name, cluster.scale_out.name) == (
        16,
        "NVLink4",
        "InfiniBand-NDR",
    )
    assert assumed == (
        "The nodes are joined by InfiniBand-NDR (50 GB/s a GPU and direction): none was stated.",
    )
    assert build_cluster(gpu="H100", nodes=1, gpus_per_node=8)[1] == ()
    assert build_cluster(gpu="H100", nodes=2, gpus_per_node=8, scale_out="HDR")[1] == ()


def test_more_gpus_a_node_than_are_sold_is_an_assumption() -> None:
    _, assumed = build_cluster(gpu="A100-SXM-64GB", nodes=2, gpus_per_node=8, scale_out="HDR")
    assert assumed == (
        "The 8 GPUs of a node are joined by NVLink3 at its full rate, "
        "though A100-SXM-64GB is sold with 4 to a node.",
    )


def test_own_device_and_links() -> None:
    cluster, assumed = build_cluster(
        gpu=OWN, nodes=3, gpus_per_node=4, scale_up={**OWN_LINK, "name": "mesh"}, scale_out=OWN_LINK
    )
    assert cluster.device.memory_bytes == 64 * 10**9
    assert cluster.device.scale_up_link == cluster.scale_up.name == "mesh"
    assert (cluster.scale_up.kind, cluster.scale_out.kind) == ("scale-up", "scale-out")
    assert cluster.device.source == "stated in the deployment"
    assert assumed == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpu": "auto"}, "cluster.gpu: 'auto' .*not detected yet"),
        ({"gpu": 3}, "cluster.gpu: 3 .*a name, or the fields of a device"),
        ({"gpu": OWN}, "cluster.gpu.scale_up_link: None .*needed"),
        (
            {"gpu": {**OWN, "scale_up_link": "NDR"}},
            "cluster.gpu.scale_up_link: 'InfiniBand-NDR'.*scale-up link",
        ),
        (
            {"gpu": {**OWN, "scale_up_link": "NVLink3", "colour": 1}},
            "cluster.gpu.colour: 1 .*one of the fields name",
        ),
        ({"gpu": {**OWN, "memory_bytes": "64 G"}}, "cluster.gpu.memory_bytes: '64 G'"),
        ({"gpu": {**OWN, "memory_bytes": 64}}, "cluster.gpu.memory_bytes: 64 .*100000000"),
        (
            {"gpu": {**OWN, "memory_bandwidth_bytes_per_s": 2000}},
            "cluster.gpu.memory_bandwidth_bytes_per_s: 2000 .*1000000000",
        ),
        ({"gpu": {**OWN, "peak_flops": {"bf16": 312}}}, "cluster.gpu.peak_flops.bf16: 312"),
        ({"gpu": {**OWN, "peak_flops": {"bf15": 3e14}}}, "cluster.gpu.peak_flops.bf15: 'bf15' .*'bf16'"),
        ({"gpu": {**OWN, "peak_flops": {"bf16": float("nan")}}}, "cluster.gpu.peak_flops.bf16: nan"),
        ({"scale_up": "NDR"}, "cluster.scale_up: 'InfiniBand-NDR' .*a scale-up link: NVLink3"),
        ({"scale_out": "NVLink4"}, "cluster.scale_out: 'NVLink4' .*a scale-out link: InfiniBand"),
        ({"scale_out": {**OWN_LINK, "latency_s": 2}}, "cluster.scale_out.latency_s: 2 .*0.01"),
        ({"scale_out": 50}, "cluster.scale_out: 50 .*the fields of a link"),
        ({"scale_out": "auto"}, "cluster.scale_out: 'auto'"),
        ({"nodes": 0}, "cluster.nodes: 0 .*greater than or equal to 1"),
        ({"nodes": True}, "cluster.nodes: True"),
        ({"gpus_per_node": "8"}, "cluster.gpus_per_node: '8'"),
    ],
)
def test_bad_input_is_one_clear_message(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_cluster(**{"gpu": "H100", "nodes": 2, "gpus_per_node": 8, **change})
