"""A GPU of one's own: known by its name beside those of the catalog."""

from shardwright.cluster.device import Device, Link
from shardwright.record import Record


class OwnGpu(Record):
    """What somebody measured of a GPU. device, scale_up: None where the measurement states none."""

    name: str
    device: Device | None = None
    scale_up: Link | None = None


def own_in_words(device: Device, scale_up: Link | None) -> str:
    """The sentence that says where the facts of such a device come from, and those of its link."""
    if scale_up is None:
        return f"The data sheet of {device.name} is that of its profile ({device.source})."
    rate = f"{scale_up.bandwidth_bytes_per_s / 1e9:.3g} GB/s a GPU and direction"
    facts = f"The data sheet of {device.name} and its link ({scale_up.name}, {rate})"
    return f"{facts} are those of its profile ({device.source})."
