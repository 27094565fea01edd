"""One GPU of this machine, as its vendor's tool prints it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DetectedGpu:
    """partitioned: cut into MIG instances; pcie_generation: the highest of GPU and slot, where printed."""

    name: str
    memory_bytes: int
    partitioned: bool = False
    pcie_generation: int | None = None
