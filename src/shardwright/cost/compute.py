"""Seconds of the compute operations on one device. Forms and symbols: head of constants.yaml."""

from shardwright.cluster.device import Device
from shardwright.cost.constants import Constants
from shardwright.cost.law import US
from shardwright.record import Size
from shardwright.steps.operation import Small


def small_seconds(operation: Small, device: Device, constants: Constants) -> Size:
    """A launch gap and the bytes."""
    law = constants.small
    return law.t0 * US + operation.bytes / device.memory_bandwidth_bytes_per_s / law.em
