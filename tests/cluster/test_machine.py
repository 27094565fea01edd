"""Recorded outputs of nvidia-smi, amd-smi and rocm-smi, read as a machine."""

import pytest

from shardwright.cluster.amd import parse_amd_smi, parse_rocm_smi
from shardwright.cluster.machine import Machine, read_machine
from shardwright.cluster.nvidia import parse_gpus, parse_topology
from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.units import MIB
from tests.cluster.recordings import machine_with, recorded


def nvidia(name: str, change: tuple[str, str] = ("", "")) -> Machine:
    gpus = recorded(f"{name}.gpus.csv").replace(*change)
    return read_machine(machine_with(gpus=gpus, topo=recorded(f"{name}.topo.txt")))


@pytest.mark.parametrize(
    ("name", "device", "num_gpus", "scale_up", "joined"),
    [
        ("h100x8", "H100-SXM-80GB", 8, None, "NVLink4 (NV18"),
        ("h200x8", "H200-SXM-141GB", 8, None, "NVLink4 (NV18"),
        ("a100x8", "A100-SXM-40GB", 8, None, "NVLink3 (NV12"),
        ("gb200x4", "GB200-186GB", 4, None, "NVLink5 (NV18"),
        ("rtx4090x8", "RTX-4090-24GB", 8, None, "PCIe4-x16 (SYS"),
    ],
)
def test_nvidia_machines(name: str, device: str, num_gpus: int, scale_up: str | None, joined: str) -> None:
    machine = nvidia(name)
    assert (machine.device.name, machine.num_gpus, machine.scale_up) == (device, num_gpus, scale_up)
    assert machine.found[1] == f"Its GPUs are joined by {joined} in nvidia-smi topo -m)."


def test_what_was_found_is_said() -> None:
    assert nvidia("h100x8").found[0] == (
        "This machine has 8 x NVIDIA H100 80GB HBM3 (81,559 MiB), by nvidia-smi: read as H100-SXM-80GB."
    )


def test_memory_is_what_the_driver_prints_here() -> None:
    machine = nvidia("h100x8", ("81559", "81000"))
    assert machine.device.memory_bytes == 81000 * MIB


def test_the_gpu_with_the_least_memory_counts() -> None:
    machine = nvidia("h100x8", ("5, NVIDIA H100 80GB HBM3, 81559", "5, NVIDIA H100 80GB HBM3, 81555"))
    assert machine.device.memory_bytes == 81555 * MIB


def test_a_topology_that_contradicts_itself_is_refused() -> None:
    """GPU 0 says NVLink to GPU 1, GPU 1 says SYS to GPU 0."""
    topo = recorded("h100x8.topo.txt").replace("GPU1\tNV18", "GPU1\tSYS")
    with pytest.raises(InputError, match="what joins 8 GPUs"):
        read_machine(machine_with(gpus=recorded("h100x8.gpus.csv"), topo=topo))


def test_five_cards_over_phb_node_and_sys() -> None:
    rows = parse_topology(recorded("pciex5.topo.txt"), 5)
    assert rows[1] == ("SYS", "X", "PHB", "NODE", "NODE")
    cards = "name, memory.total [MiB]\n" + "NVIDIA L40S, 46068 MiB\n" * 5
    machine = read_machine(machine_with(gpus=cards, topo=recorded("pciex5.topo.txt")))
    assert machine.found[1] == "Its GPUs are joined by PCIe4-x16 (NODE, PHB, SYS in nvidia-smi topo -m)."


@pytest.mark.parametrize(
    ("generation", "link"), [("5", "PCIe5-x16"), ("4", "PCIe4-x16"), ("[N/A]", "PCIe4-x16")]
)
def test_nvlink_that_does_not_show_is_not_counted_on(generation: str, link: str) -> None:
    gpus = recorded("h100x8.gpus.csv").replace("Disabled, 5", f"Disabled, {generation}")
    topo = recorded("h100x8.topo.txt").replace("NV18", "SYS")
    machine = read_machine(machine_with(gpus=gpus, topo=topo))
    assert machine.scale_up == link
    pairs = recorded("pciex5.topo.txt").replace("PHB", "NV12")
    five = "".join(gpus.splitlines(keepends=True)[:6])
    bridged = read_machine(machine_with(gpus=five, topo=pairs))
    assert bridged.scale_up == link
    assert bridged.found[1].endswith(
        "(NODE, NV12, SYS in nvidia-smi topo -m); NVLinks of pairs are left out: state scale_up."
    )


def test_one_gpu_needs_no_topology() -> None:
    one = "".join(recorded("h100x8.gpus.csv").splitlines(keepends=True)[:2])
    machine = read_machine(machine_with(gpus=one))
    assert (machine.num_gpus, machine.scale_up, len(machine.found)) == (1, None, 1)


def test_amd_machines() -> None:
    eight = read_machine(
        machine_with(rocm="WARNING: low-power state\n\n" + recorded("mi300x8.rocm-smi.json"))
    )
    one = read_machine(machine_with(amd=recorded("mi300x.amd-smi.json")))
    assert (eight.device, eight.num_gpus) == (one.device, 8)
    assert (one.device.name, one.num_gpus) == ("MI300X-192GB", 1)
    assert parse_rocm_smi(recorded("rx7900xt.rocm-smi.json"))[0].memory_bytes == 21458059264
    older = recorded("mi300x.amd-smi.json").replace('"size"', '"vram_size"')
    assert parse_amd_smi(older) == parse_amd_smi(recorded("mi300x.amd-smi.json"))


@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        (recorded("mixedx2.gpus.csv"), r"cluster.gpu: '1 x Tesla PG500-216, 1 x Tesla P40' .*one kind"),
        (recorded("no_memory.gpus.csv"), "nvidia-smi --query-gpu: '0 MiB' .*memory of a GPU in MiB"),
        (recorded("empty.txt"), "nvidia-smi --query-gpu: '' .*columns name and memory.total"),
        (recorded("h100x8.gpus.csv").replace("Disabled", "Enabled", 3), "MIG mode on GPU 0' .*whole GPUs"),
        (recorded("h100x8.gpus.csv").replace("81559", "40000"), "H100 80GB HBM3 .40,000 MiB.* the catalogue"),
        (
            "name, memory.total [MiB]\nTesla T4, 15360 MiB\n",
            r"cluster.gpu: 'Tesla T4 \(15,360 MiB\)' .*fields",
        ),
        ("name, memory.total [MiB]\nNVIDIA H100\n", "nvidia-smi --query-gpu: 'NVIDIA H100' .*2 values"),
        ("name, memory.total [MiB]\nNVIDIA GB10, [N/A]\n", r"nvidia-smi --query-gpu: '\[N/A\]'"),
    ],
)
def test_what_cannot_be_used_is_named(gpus: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_machine(machine_with(gpus=gpus, topo=recorded("h100x8.topo.txt")))


@pytest.mark.parametrize("topo", ["", "GPU0\tX\n", recorded("a100x8.topo.txt").replace("NV12", "NV??", 1)])
def test_a_topology_of_other_gpus_is_refused(topo: str) -> None:
    with pytest.raises(InputError, match=r"nvidia-smi topo -m: .*what joins 8 GPUs"):
        read_machine(machine_with(gpus=recorded("a100x8.gpus.csv"), topo=topo))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (recorded("mi300a.rocm-smi.json"), "rocm-smi: None .*the memory of AMD Instinct MI300A"),
        ("not JSON", "rocm-smi: 'not JSON' .*JSON"),
        ("[1, 2]", "rocm-smi: .*an object with an entry a card"),
        (recorded("rx7900xt.rocm-smi.json"), r"cluster.gpu: 'Radeon RX 7900 XT \(20,464 MiB\)'"),
        (recorded("mi300x8.rocm-smi.json").replace("206141652992", "25767706624"), "MI300X .24,574 MiB"),
    ],
)
def test_what_rocm_smi_lacks_is_named(text: str, message: str) -> None:
    """The last one is an MI300X cut into partitions (CPX)."""
    with pytest.raises(InputError, match=message):
        read_machine(machine_with(rocm=text))


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({}, "has none of nvidia-smi, amd-smi, rocm-smi, so it is taken for one of CPUs only"),
        ({"gpus": recorded("driver_failed.txt")}, "NVIDIA-SMI has failed because it couldn't communicate"),
        ({"gpus": recorded("no_devices.txt")}, "No devices were found"),
        ({"gpus": "name, memory.total [MiB]\n"}, "nvidia-smi lists no GPU"),
        ({"rocm": '{"system": {}}'}, "rocm-smi lists no GPU"),
        ({"amd": '{"gpu_data": []}'}, "amd-smi lists no GPU"),
    ],
)
def test_a_machine_without_gpus_is_an_environment_that_lacks_them(
    tools: dict[str, str], message: str
) -> None:
    with pytest.raises(EnvironmentLacksError, match=message):
        read_machine(machine_with(**tools))


def test_a_dead_driver_does_not_hide_the_other_vendor() -> None:
    tools = machine_with(gpus=recorded("driver_failed.txt"), rocm=recorded("mi300x8.rocm-smi.json"))
    assert read_machine(tools).device.name == "MI300X-192GB"


def test_columns_are_found_by_name() -> None:
    swapped = "memory.total [MiB], pcie.link.gen.max, name\n46068 MiB, 4, NVIDIA L40S\n"
    assert (parse_gpus(swapped)[0].name, parse_gpus(swapped)[0].pcie_generation) == ("NVIDIA L40S", 4)
