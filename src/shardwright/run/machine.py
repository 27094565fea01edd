"""The device of this machine that a rank runs on: its name, its free memory, and whether a plan means it."""

import platform
import re
from pathlib import Path

import torch

from shardwright.cluster.device import Device
from shardwright.errors import EnvironmentLacksError, InputError

DEVICES = ("cpu", "cuda")

MEMINFO = Path("/proc/meminfo")
"""Of Linux (proc(5)): MemAvailable, in KiB, estimates what can be taken without swapping."""

MEMORY_TOLERANCE = 0.05
"""GPUs of one name are sold with memories that differ by more than this share; drivers report within it."""


def open_device(name: str) -> torch.device:
    """The CPU, or the first GPU. Raises EnvironmentLacksError where torch sees no GPU."""
    if name not in DEVICES:
        raise InputError("--device", name, f"one of {', '.join(DEVICES)}")
    if name == "cuda" and not torch.cuda.is_available():
        raise EnvironmentLacksError("--device cuda: torch finds no GPU on this machine")
    return torch.device("cuda", 0) if name == "cuda" else torch.device("cpu")


def device_name(device: torch.device) -> str:
    """As its driver calls it, or the kind of CPU and the threads that torch uses of it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def free_bytes(device: torch.device) -> float:
    """Memory that can still be taken; without bound where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if not MEMINFO.exists():
        return float("inf")
    lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    return 1024.0 * int(lines["MemAvailable"].split()[0])


def is_the_plans(device: torch.device, planned: Device) -> bool:
    """Whether the machine's GPU is of the kind that the plan is for: named alike, and of its memory."""
    if device.type != "cuda":
        return False
    properties = torch.cuda.get_device_properties(device)
    return alike(properties.name, properties.total_memory, planned)


def alike(name: str, memory_bytes: int, planned: Device) -> bool:
    """Whether a driver's name and memory are those of a device of the catalog ('H200-SXM-141GB').

    The catalog's first word is the product; a driver says PCIe where a card is one ('NVIDIA H100 PCIe').
    """
    product = planned.name.split("-")[0].lower()
    if product not in re.split(r"[\s-]", name.lower()):
        return False
    same_form = ("pcie" in name.lower()) == ("pcie" in planned.name.lower())
    return same_form and abs(memory_bytes / planned.memory_bytes - 1) <= MEMORY_TOLERANCE
