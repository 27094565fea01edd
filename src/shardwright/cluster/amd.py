"""What amd-smi and rocm-smi print: the GPUs of an AMD machine. Each die of an MI250X is a GPU of its own."""

import json
import re
from typing import Any

from shardwright.cluster.detected import DetectedGpu
from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.units import GIB, MIB

AMD_SMI = ("amd-smi", "static", "--asic", "--vram", "--json")
ROCM_SMI = ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json")

_UNITS = {"B": 1, "MB": MIB, "GB": GIB}
"""amd-smi says MB of MiB: 196592 'MB' are the 206,141,652,992 bytes that rocm-smi prints of an MI300X."""


def parse_amd_smi(text: str) -> tuple[DetectedGpu, ...]:
    """The GPUs in the output of AMD_SMI, a list or, from ROCm 7 on, one under gpu_data.

    Raises EnvironmentLacksError where it lists none, InputError where it cannot be read.
    """
    document = _json(text, "amd-smi")
    rows = document.get("gpu_data") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise InputError("amd-smi", str(rows)[:80], "a list of GPUs")
    found = []
    for row in rows:
        vram = _at(row, "vram")
        size = _at(vram, "size") or _at(vram, "vram_size")
        unit, value = _UNITS.get(str(_at(size, "unit"))), _at(size, "value")
        num_bytes = value * unit if type(value) is int and unit else None
        found.append(_gpu("amd-smi", _at(_at(row, "asic"), "market_name"), num_bytes))
    return _some(found, "amd-smi")


def parse_rocm_smi(text: str) -> tuple[DetectedGpu, ...]:
    """The GPUs in the output of ROCM_SMI: an object with one entry a card.

    Raises EnvironmentLacksError where it lists none, InputError where it cannot be read.
    """
    document = _json(text, "rocm-smi")
    if not isinstance(document, dict):
        raise InputError("rocm-smi", str(document)[:80], "an object with an entry a card")
    found = []
    for key, card in document.items():
        if re.fullmatch(r"card[0-9]+", key):
            memory = str(_at(card, "VRAM Total Memory (B)"))
            num_bytes = int(memory) if re.fullmatch("[0-9]{1,15}", memory) else None
            name = _at(card, "Card Series") or _at(card, "Card series")
            found.append(_gpu("rocm-smi", name, num_bytes))
    return _some(found, "rocm-smi")


def _json(text: str, tool: str) -> Any:
    """The document in the text, which warnings may precede."""
    start = re.search(r"^\s*[\[{]", text, re.MULTILINE)
    try:
        return json.loads(text[start.start() :] if start else text)
    except (ValueError, RecursionError):
        raise InputError(tool, text.strip()[:80], "JSON") from None


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _gpu(tool: str, name: Any, memory_bytes: int | None) -> DetectedGpu:
    if not isinstance(name, str) or not name:
        raise InputError(tool, name, "the name of a GPU")
    if not memory_bytes or not 0 < memory_bytes < 10**15:
        raise InputError(tool, memory_bytes, f"the memory of {name[:80]}")
    return DetectedGpu(name=name, memory_bytes=memory_bytes)


def _some(found: list[DetectedGpu], tool: str) -> tuple[DetectedGpu, ...]:
    if not found:
        raise EnvironmentLacksError(f"{tool} lists no GPU")
    return tuple(found)
