"""This machine as a node: its GPUs, and what joins them, from nvidia-smi, amd-smi or rocm-smi."""

from collections import Counter
from collections.abc import Callable, Sequence

from shardwright.cluster.amd import AMD_SMI, ROCM_SMI, parse_amd_smi, parse_rocm_smi
from shardwright.cluster.catalog import device_names, recognised_device
from shardwright.cluster.detected import DetectedGpu
from shardwright.cluster.device import Device
from shardwright.cluster.nvidia import QUERY, TOPOLOGY, Topology, parse_gpus, parse_topology
from shardwright.cluster.tool import tool_output
from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.record import Count, Record
from shardwright.units import MIB

Tool = Callable[[Sequence[str]], str | None]
"""Runs a command: its output, or None where the machine does not have it (tool.py)."""

READERS = ((QUERY, parse_gpus), (AMD_SMI, parse_amd_smi), (ROCM_SMI, parse_rocm_smi))
"""Asked in this order; the first tool that lists GPUs is believed."""

NVLINK = "NV"


class Machine(Record):
    """A node. scale_up: name of the link that joins its GPUs where it is not the device's own."""

    device: Device
    num_gpus: Count
    scale_up: str | None = None
    found: tuple[str, ...]
    """A sentence for each thing that was read or concluded."""


def read_machine(tool: Tool = tool_output) -> Machine:
    """This machine, read with its own tools; nothing is asked over a network.

    Raises EnvironmentLacksError where no tool lists a GPU, InputError as machine_of and the parsers.
    """
    failures = []
    for command, parse in READERS:
        try:
            text = tool(command)
            gpus = () if text is None else parse(text)
        except EnvironmentLacksError as error:
            failures.append(str(error))
            continue
        if gpus:
            joined = _topology(tool, gpus) if parse is parse_gpus else None
            return machine_of(gpus, joined, command[0])
    if failures:
        raise EnvironmentLacksError(f"cluster: auto: {failures[0]}")
    tools = ", ".join(command[0] for command, _ in READERS)
    raise EnvironmentLacksError(
        f"cluster: auto: this machine has none of {tools}, so it is taken for one of CPUs only; "
        "name the GPU that is meant, as in gpu: H100-SXM-80GB"
    )


def machine_of(gpus: Sequence[DetectedGpu], topology: Topology | None, tool: str) -> Machine:
    """The node that these GPUs make.

    Raises InputError for GPUs of several kinds, cut into MIG instances, or not in the catalogue.
    """
    kinds = Counter(gpu.name for gpu in gpus)
    if len(kinds) > 1:
        several = ", ".join(f"{count} x {name}" for name, count in kinds.items())
        raise InputError(
            "cluster.gpu", several, "GPUs of one kind in a machine; or name the one that is meant"
        )
    cut = [index for index, gpu in enumerate(gpus) if gpu.partitioned]
    if cut:
        raise InputError("cluster.gpu", f"MIG mode on GPU {cut[0]}", "whole GPUs: nvidia-smi -i GPU -mig 0")
    name, memory_bytes = gpus[0].name, min(gpu.memory_bytes for gpu in gpus)
    device = recognised_device(name, memory_bytes)
    shown = f"{name} ({memory_bytes // MIB:,} MiB)"
    if device is None:
        allowed = f"a GPU that the catalogue knows ({', '.join(device_names())}), or fields of your own"
        raise InputError("cluster.gpu", shown, allowed)
    scale_up, how = _scale_up(device, gpus[0].pcie_generation, topology)
    return Machine(
        device=device.model_copy(update={"memory_bytes": memory_bytes}),
        num_gpus=len(gpus),
        scale_up=scale_up,
        found=(f"This machine has {len(gpus)} x {shown}, by {tool}: read as {device.name}.", *how),
    )


def _topology(tool: Tool, gpus: Sequence[DetectedGpu]) -> Topology | None:
    if len(gpus) == 1:
        return None
    text = tool(TOPOLOGY)
    return None if text is None else parse_topology(text, len(gpus))


def _scale_up(
    device: Device, pcie_generation: int | None, topology: Topology | None
) -> tuple[str | None, tuple[str, ...]]:
    """The link that joins all GPUs where it is not the device's own, and a sentence on what was seen."""
    if topology is None:
        return None, ()
    pairs = {topology[a][b] for a in range(len(topology)) for b in range(a)}
    seen = ", ".join(sorted(pairs))
    linked = {pair for pair in pairs if pair.startswith(NVLINK)}
    has_nvlink = device.scale_up_gpus > 1
    if has_nvlink and linked == pairs:
        return None, (f"Its GPUs are joined by {device.scale_up_link} ({seen} in nvidia-smi topo -m).",)
    link = _pcie(pcie_generation) if has_nvlink else device.scale_up_link
    bridged = "; NVLinks of pairs are left out: state scale_up" if linked else ""
    sentence = f"Its GPUs are joined by {link} ({seen} in nvidia-smi topo -m){bridged}."
    return link if has_nvlink else None, (sentence,)


def _pcie(generation: int | None) -> str:
    """The PCIe link of a generation; the slower of those known where none is printed."""
    return "PCIe5-x16" if generation is not None and generation >= 5 else "PCIe4-x16"
