"""What nvidia-smi prints: the GPUs, and what joins each pair of them."""

import csv
import re

from shardwright.cluster.detected import DetectedGpu
from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.units import MIB

QUERY = (
    "nvidia-smi",
    "--query-gpu=index,name,memory.total,mig.mode.current,pcie.link.gen.max",
    "--format=csv",
)
TOPOLOGY = ("nvidia-smi", "topo", "-m")

NO_GPU = ("NVIDIA-SMI has failed", "No devices were found", "Failed to initialize NVML")
"""How nvidia-smi says that there is no driver, or no GPU behind it."""

_NAME, _MEMORY, _MIG, _PCIE = "name", "memory.total [MiB]", "mig.mode.current", "pcie.link.gen.max"
_MEBIBYTES = re.compile(r"([0-9]{1,9}) MiB")
_JOINED = re.compile(r"X|SYS|NODE|PHB|PXB|PIX|SOC|NV[0-9]{1,2}")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Topology = tuple[tuple[str, ...], ...]
"""Row i, column j: what joins GPU i to GPU j. X: itself; NV#: that many NVLinks; SYS: PCIe and the link
between sockets; NODE, PHB, PXB, PIX: PCIe over host bridges, one of them, several switches, one of them
(legend of nvidia-smi topo -m)."""


def parse_gpus(text: str) -> tuple[DetectedGpu, ...]:
    """The GPUs in the output of QUERY; of its columns name and memory.total are needed.

    Raises EnvironmentLacksError where it says that there is none, InputError where it cannot be read.
    """
    said = text.strip()
    if said.startswith(NO_GPU):
        raise EnvironmentLacksError(f"nvidia-smi finds no GPU: {said.splitlines()[0][:200]}")
    try:
        rows = [row for row in csv.reader(said.splitlines(), skipinitialspace=True) if row]
    except csv.Error:
        raise _unread(said[:80], "comma-separated values") from None
    header = rows[0] if rows else []
    if _NAME not in header or _MEMORY not in header:
        raise _unread(", ".join(header), f"columns {_NAME} and {_MEMORY}")
    if len(rows) == 1:
        raise EnvironmentLacksError("nvidia-smi lists no GPU")
    return tuple(_gpu(header, row) for row in rows[1:])


def parse_topology(text: str, num_gpus: int) -> Topology:
    """What joins each pair of GPUs, from the output of TOPOLOGY; NICs and affinities are passed over.

    Raises InputError where it cannot be read, or is not of num_gpus GPUs.
    """
    found = {}
    for line in _COLOUR.sub("", text).splitlines():
        first, *rest = line.split() or [""]
        joined = tuple(rest[:num_gpus])
        if len(joined) == num_gpus and all(_JOINED.fullmatch(word) for word in joined):
            found[first] = joined
    rows = tuple(found.get(f"GPU{gpu}", ()) for gpu in range(num_gpus))
    pairs = [(a, b) for a in range(num_gpus) for b in range(a + 1)]
    if not all(rows) or any(rows[a][b] != rows[b][a] or (rows[a][b] == "X") != (a == b) for a, b in pairs):
        raise InputError("nvidia-smi topo -m", text.strip()[:80], f"what joins {num_gpus} GPUs, a row a GPU")
    return rows


def _gpu(header: list[str], row: list[str]) -> DetectedGpu:
    if len(row) != len(header):
        raise _unread(", ".join(row), f"{len(header)} values, as the header has")
    values = dict(zip(header, row, strict=True))
    memory = _MEBIBYTES.fullmatch(values[_MEMORY])
    if memory is None or int(memory[1]) == 0:
        raise _unread(values[_MEMORY], "the memory of a GPU in MiB")
    generation = values.get(_PCIE, "")
    return DetectedGpu(
        name=values[_NAME],
        memory_bytes=int(memory[1]) * MIB,
        partitioned=values.get(_MIG) == "Enabled",
        pcie_generation=int(generation) if re.fullmatch("[1-9]", generation) else None,
    )


def _unread(value: str, allowed: str) -> InputError:
    return InputError("nvidia-smi --query-gpu", value, allowed)
