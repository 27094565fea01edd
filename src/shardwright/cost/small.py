"""Seconds of a short memory-bound kernel.

    t = t0 + bytes / rate / em

t0: the gap that its launch leaves, in us; rate: of the memory.
"""

from shardwright.cluster.device import Device
from shardwright.cost.constants import SmallConstants, constants
from shardwright.cost.law import US, Law
from shardwright.record import Size
from shardwright.steps.operation import Small


class SmallLaw(Law):
    """t0 in us; em: efficiency of the memory."""

    FEATURES = ("bytes",)

    t0: float
    em: float


def small_features(operation: Small) -> dict[str, Size]:
    """What the table of a law goes by."""
    return {"bytes": operation.bytes}


def small_form_seconds(operation: Small, device: Device, law: SmallLaw | SmallConstants) -> Size:
    """The form alone."""
    return law.t0 * US + operation.bytes / device.memory_bandwidth_bytes_per_s / law.em


def small_seconds(operation: Small, device: Device, law: SmallLaw | None) -> Size:
    """The form and its table. None: by the shipped constants, for no table has such kernels."""
    if law is None:
        return small_form_seconds(operation, device, constants().small)
    return law.corrected(small_form_seconds(operation, device, law), small_features(operation))
