"""What this machine is: its processor or GPU, as a profile names it; never what its host is called."""

import os
import platform
from pathlib import Path

import torch

from shardwright.calibrate.own import Host
from shardwright.cluster.catalog import recognised_device
from shardwright.cluster.device import NOT_STATED

CPUINFO = Path("/proc/cpuinfo")
"""Of Linux (proc(5)): 'model name' and 'vendor_id', on x86."""


def this_host(device: torch.device) -> Host:
    """The machine as seen from one of its devices."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return Host(
            kind="cuda",
            name=properties.name,
            vendor="AMD" if torch.version.hip else "NVIDIA",
            memory_bytes=properties.total_memory,
            num_sms=properties.multi_processor_count,
            torch_version=torch.__version__,
            known=recognised_device(properties.name, properties.total_memory),
        )
    facts = _facts()
    return Host(
        kind="cpu",
        name=facts.get("model name", f"{platform.machine()} CPU"),
        vendor=facts.get("vendor_id", NOT_STATED),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        num_sms=torch.get_num_threads(),
        torch_version=torch.__version__,
    )


def _facts() -> dict[str, str]:
    """Of the last processor that the system lists; nothing where it lists none."""
    if not CPUINFO.exists():
        return {}
    pairs = (line.split(":", 1) for line in CPUINFO.read_text().splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}
