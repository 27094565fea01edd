"""One kind of GPU and one kind of link: facts with a source and a date.

The bounds are wide: they catch a wrong unit (GB/s for bytes/s, TFLOP/s for FLOP/s), not a bold claim.
"""

from typing import Annotated, Literal

from pydantic import Field

from shardwright.model.dtype import Dtype
from shardwright.record import Count, Record

Name = Annotated[str, Field(min_length=1, max_length=80)]
Flops = Annotated[float, Field(ge=1e9, le=1e18)]


NOT_STATED = "not stated"
"""The vendor of a device of somebody's own that names none."""


class Device(Record):
    """A GPU as its data sheet and its driver state it."""

    name: Name
    vendor: str
    driver_names: tuple[str, ...] = ()
    """What nvidia-smi, amd-smi or rocm-smi call it."""
    memory_bytes: int = Field(strict=True, ge=10**8, le=10**13)
    """Device memory in bytes as the driver reports it."""
    memory_bandwidth_bytes_per_s: float = Field(ge=1e9, le=1e14)
    peak_flops: dict[Dtype, Flops] = Field(min_length=1)
    """Dense peak FLOP/s by operand dtype; never the sparse figure. A missing dtype is not supported."""
    num_sms: Count
    """Streaming multiprocessors (NVIDIA), compute units (AMD) or AI cores (Ascend)."""
    scale_up_link: str
    """Name of the Link that joins the GPUs of one scale-up domain (NVLink, xGMI), else of a node (PCIe)."""
    scale_up_gpus: Count = 8
    """GPUs of the largest scale-up domain sold for this device; 1 where PCIe is all there is."""
    node_gpus: Count = 8
    """GPUs of a node as sold; a scale-up domain that is larger spans nodes (NVL72: 18 nodes of 4)."""
    source: str
    date: str


class Link(Record):
    """One kind of link, as seen by one GPU, one direction."""

    name: Name
    kind: Literal["scale-up", "scale-out"]
    """Inside a domain, or between domains."""
    bandwidth_bytes_per_s: float = Field(ge=1e7, le=1e14)
    """Peak payload-independent data-sheet rate, one direction, one GPU."""
    latency_s: float = Field(ge=1e-8, le=1e-2)
    """Latency of one hop of a small message; what a library takes to start is not in it."""
    source: str
    date: str
