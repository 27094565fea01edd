"""The catalogue of GPUs and links, and clusters built from names or from fields of one's own."""

import re
from datetime import date
from typing import Any

import pytest

from shardwright.cluster.catalog import (
    _catalog,
    build_cluster,
    device_names,
    find_device,
    find_link,
    link_names,
    recognised_device,
)
from shardwright.cluster.device import Device, Link
from shardwright.errors import InputError
from shardwright.units import GIB, MIB

OWN: dict[str, Any] = {
    "name": "X1",
    "memory_bytes": "64 GB",
    "memory_bandwidth_bytes_per_s": 2e12,
    "peak_flops": {"bf16": 3e14},
    "num_sms": 100,
}
OWN_LINK = {"bandwidth_bytes_per_s": 2e11, "latency_s": 1e-6}


ROWS = _catalog().devices
LINKS = _catalog().links


def test_names_are_unique_and_every_device_has_its_links() -> None:
    catalog = _catalog()
    assert len(set(device_names())) == len(device_names()) >= 25
    assert len(set(link_names())) == len(link_names()) >= 25
    assert set(catalog.usual_scale_out) == set(device_names())
    assert set(catalog.meant.values()) <= set(device_names())
    drivers = [name for device in ROWS for name in device.driver_names]
    assert len(set(drivers)) == len(drivers)
    for name in (*catalog.usual_scale_out.values(), catalog.other_scale_out):
        assert find_link(name).kind == "scale-out"
    for device in ROWS:
        assert find_link(device.scale_up_link).kind == "scale-up"


@pytest.mark.parametrize("row", [*ROWS, *LINKS], ids=lambda row: row.name)
def test_every_row_says_where_and_when_it_was_read(row: Device | Link) -> None:
    assert re.search(r"https://[a-z0-9.-]+\.[a-z]+/", row.source)
    assert date.fromisoformat(row.date) <= date.today()


@pytest.mark.parametrize("device", ROWS, ids=lambda device: device.name)
def test_memory_is_under_the_nominal_size(device: Device) -> None:
    """The name ends in the nominal GiB; a driver keeps up to 7 % (ECC of GDDR6)."""
    nominal = int(device.name.rpartition("-")[2].removesuffix("GB")) * GIB
    assert 0.93 * nominal <= device.memory_bytes <= nominal
    assert device.memory_bytes % MIB == 0


@pytest.mark.parametrize("device", ROWS, ids=lambda device: device.name)
def test_peaks_are_dense_and_in_proportion(device: Device) -> None:
    """Half the bits, twice the rate. GeForce sums 8 and 4 bit faster, B300 has little int8 and wider fp4."""
    flops = device.peak_flops
    assert flops["bf16"] == flops["fp16"]
    if "fp8" in flops:
        assert flops["fp8"] == pytest.approx(2 * flops["bf16"], rel=0.03)
    if "fp4" in flops:
        assert 1.99 <= flops["fp4"] / flops["fp8"] <= 4.01
    assert flops["int8"] / flops["bf16"] <= 4.01
    assert 15 <= flops["bf16"] / device.memory_bandwidth_bytes_per_s <= 650


@pytest.mark.parametrize("device", ROWS, ids=lambda device: device.name)
def test_links_fit_the_device(device: Device) -> None:
    up = find_link(device.scale_up_link)
    out = find_link(_catalog().usual_scale_out[device.name])
    assert device.scale_up_gpus in (1, 4, 8, 72)
    assert up.name.startswith("PCIe") == (device.scale_up_gpus == 1)
    assert up.bandwidth_bytes_per_s < device.memory_bandwidth_bytes_per_s
    assert out.bandwidth_bytes_per_s <= up.bandwidth_bytes_per_s
    assert out.latency_s >= up.latency_s
    assert device.node_gpus <= max(8, device.scale_up_gpus)


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("PCIe4-x16", 16 * 16 / 8 * 128 / 130),
        ("PCIe5-x16", 32 * 16 / 8 * 128 / 130),
        ("NVLink3", 12 * 25),
        ("NVLink4", 18 * 25),
        ("NVLink4-H800", 8 * 25),
        ("NVLink5", 18 * 50),
        ("xGMI-MI300X", 7 * 64),
        ("InfiniBand-HDR100", 100 / 8),
        ("InfiniBand-XDR", 800 / 8),
        ("RoCE-400", 400 / 8),
        ("EFA-p4d", 400 / 8 / 8),
        ("EFA-p5", 3200 / 8 / 8),
        ("Ethernet-25", 25 / 8),
    ],
)
def test_rates_follow_from_lanes_and_ports(name: str, gigabytes: float) -> None:
    assert find_link(name).bandwidth_bytes_per_s == pytest.approx(gigabytes * 1e9, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "mebibytes"),
    [
        ("A100-SXM-40GB", 40960),
        ("A100-SXM-64GB", 65536),
        ("A100-SXM-80GB", 81920),
        ("H100-SXM-80GB", 81559),
        ("H100-NVL-94GB", 95830),
        ("H200-SXM-141GB", 143771),
        ("H20-SXM-96GB", 97871),
        ("B200-SXM-180GB", 183359),
        ("B300-SXM-270GB", 275040),
        ("GB200-186GB", 189471),
        ("GB300-279GB", 284208),
        ("L40S-48GB", 46068),
        ("RTX-5090-32GB", 32607),
        ("MI300X-192GB", 196592),
        ("MI355X-288GB", 294896),
    ],
)
def test_memory_is_what_the_driver_prints(name: str, mebibytes: int) -> None:
    assert find_device(name).memory_bytes == mebibytes * MIB


@pytest.mark.parametrize("device", ROWS, ids=lambda device: device.name)
def test_drivers_names_are_recognised_with_their_memory_only(device: Device) -> None:
    for name in device.driver_names:
        assert recognised_device(name, device.memory_bytes) == device
        assert recognised_device(name, device.memory_bytes // 2) is None
        assert recognised_device(name + " Laptop", device.memory_bytes) is None


FLOP_A_CLOCK = (
    ("A100", 2048, 1.410),
    ("H100-SXM", 4096, 1.830),
    ("H200", 4096, 1.830),
    ("H800", 4096, 1.830),
    ("GH200", 4096, 1.830),
    ("B200", 8192, None),
    ("B300", 8192, None),
    ("GB", 8192, None),
    ("L4", 1024, None),
    ("A10-", 1024, 1.695),
    ("RTX-4090", 512, 2.520),
    ("RTX-5090", 512, 2.407),
    ("RTX-PRO", 1024, None),
    ("MI2", 1024, 1.700),
    ("MI300X", 2048, 2.100),
    ("MI325X", 2048, 2.100),
    ("MI355X", 4096, 2.400),
    ("Ascend-910B3", 8192, None),
)
"""Dense bf16 FLOP a clock of one SM, CU or AI core, and the boost clock in GHz where it is known: the white
papers of Ampere, Hopper, Ada (half, where GeForce sums in fp32), Blackwell, CDNA 2 to 4; Da Vinci: 16^3."""


@pytest.mark.parametrize(("prefix", "flop", "gigahertz"), FLOP_A_CLOCK)
def test_peaks_follow_from_units_and_clock(prefix: str, flop: int, gigahertz: float | None) -> None:
    devices = [device for device in ROWS if device.name.startswith(prefix)]
    assert devices
    for device in devices:
        clock = device.peak_flops["bf16"] / device.num_sms / flop / 1e9
        assert 1.3 <= clock <= 2.7
        assert gigahertz is None or clock == pytest.approx(gigahertz, rel=3e-3)


def test_only_the_capped_and_the_slower_parts_of_hopper_are_below_the_clock() -> None:
    """H20 is cut to 15 % by export rules; PCIe and NVL cards run slower than the module."""
    sure = tuple(prefix for prefix, *_ in FLOP_A_CLOCK)
    left = [device.name for device in ROWS if not device.name.startswith(sure)]
    assert left == ["H100-PCIe-80GB", "H100-NVL-94GB", "H20-SXM-96GB"]


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("H100", "H100-SXM-80GB"),
        ("h100 sxm 80gb", "H100-SXM-80GB"),
        ("mi300x", "MI300X-192GB"),
        ("A100 64GB", "A100-SXM-64GB"),
        ("A100-80", "A100-SXM-80GB"),
        ("a100-sxm64", "A100-SXM-64GB"),
        ("a10", "A10-24GB"),
        ("l4", "L4-24GB"),
        ("L40S", "L40S-48GB"),
        ("H20", "H20-SXM-96GB"),
        ("H200", "H200-SXM-141GB"),
        ("h100 nvl", "H100-NVL-94GB"),
        ("B200", "B200-SXM-180GB"),
        ("GB200", "GB200-186GB"),
        ("RTX 4090", "RTX-4090-24GB"),
        ("MI250X", "MI250X-GCD-64GB"),
        ("MI250", "MI250-GCD-64GB"),
        ("GH200", "GH200-96GB"),
        ("910b", "Ascend-910B3-64GB"),
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
    assert [find_link(part).name for part in ("hdr", "NDR", "nvlink 4", "mi300x")] == [
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
        "though A100-SXM-64GB is known with 4 to a node.",
    )


def test_cards_without_nvlink_are_joined_by_pcie_and_that_is_said() -> None:
    cluster, assumed = build_cluster(gpu="L40S", nodes=1, gpus_per_node=4)
    assert cluster.scale_up.name == "PCIe4-x16"
    assert assumed == (
        "The 4 GPUs of a node are joined by PCIe4-x16 (31.5 GB/s a GPU and direction), at its full rate "
        "whatever lies between: none was stated.",
    )
    assert build_cluster(gpu="L40S", nodes=1, gpus_per_node=4, scale_up="PCIe4")[1] == ()


def test_a_rack_is_one_domain_over_nodes() -> None:
    """GB200 NVL72: 18 nodes of 4; 20 nodes are a rack and 2 nodes of the next."""
    cluster, assumed = build_cluster(gpu="GB200", nodes=20)
    assert (cluster.gpus_per_node, cluster.nodes_per_domain, cluster.gpus_per_domain) == (4, 18, 72)
    assert assumed == (
        "18 nodes of 4 share one NVLink5 domain of 72 GPUs: GB200-186GB is sold with 72 to a domain.",
        "The scale-up domains are joined by InfiniBand-NDR (50 GB/s a GPU and direction): none was stated.",
    )
    assert [cluster.tier(3, rank) for rank in (0, 4, 71, 72)] == ["scale_up"] * 3 + ["scale_out"]


@pytest.mark.parametrize(
    ("stated", "nodes_per_domain"),
    [
        ({"gpu": "GB200", "nodes": 4}, 4),
        ({"gpu": "GB200", "nodes": 1}, 1),
        ({"gpu": "GB200", "nodes": 18, "scale_up_gpus": 36}, 9),
        ({"gpu": "GB200", "nodes": 18, "scale_up_gpus": 4}, 1),
        ({"gpu": "GB200", "nodes": 18, "gpus_per_node": 8}, 9),
        ({"gpu": "GB200", "nodes": 18, "gpus_per_node": 72}, 1),
        ({"gpu": "GB200", "nodes": 18, "scale_up": "PCIe5"}, 1),
        ({"gpu": "H100", "nodes": 4, "gpus_per_node": 4}, 1),
        ({"gpu": "H100", "nodes": 4, "gpus_per_node": 4, "scale_up_gpus": 16}, 4),
        ({"gpu": "A100-SXM-64GB", "nodes": 4}, 1),
    ],
)
def test_nodes_of_a_domain(stated: dict[str, Any], nodes_per_domain: int) -> None:
    assert build_cluster(**stated)[0].nodes_per_domain == nodes_per_domain


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
        ({"gpu": "64GB"}, "cluster.gpu: '64GB' .*A100-SXM-64GB, MI210-64GB"),
        ({"scale_up_gpus": 12}, "cluster.scale_up_gpus: 12 .*the 8 GPUs of a node, or those of several"),
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
