"""Seconds of the grouped GEMMs of the experts on one rank: gate and up, activation, down.

    t = t0 + pnorm(2 x 3 H W rows64 / peak / ec (1 + k0 / W), weights / rate / em)
        + activations of its rows / rate / ea + of foreign rows / rate / eo

H, W: hidden size, and the width of an expert on this rank. weights: bytes of the experts that have any row.
rows64: an expert with r rows works on r + 32 on average, on 64 at least: its last tile is half full.
Foreign rows: a kernel that sees all tokens passes over those of other ranks' experts.
"""

import numpy as np

from shardwright.cluster.device import Device
from shardwright.cost.law import OPERANDS, US, Law, peak_flops, pnorm
from shardwright.record import Size
from shardwright.steps.operation import GroupedExperts

TILE_ROWS = 64


class ExpertsLaw(Law):
    """t0 in us; ec, em, ea, eo: efficiencies of compute, of reading weights, of moving activations and of
    passing over foreign rows; k0: the width at which a kernel's start costs as much as its work; power: of
    the norm; tile_rows: of the form's tiles, 0 for a kernel that has none."""

    FEATURES = ("rows_each", "active", "area", "rows")

    tile_rows: int = TILE_ROWS
    t0: float
    ec: float
    em: float
    ea: float
    eo: float
    k0: float
    power: float


def experts_features(operation: GroupedExperts) -> dict[str, Size]:
    """What the table of a law goes by, and the rows that tell its bands apart."""
    active = np.maximum(operation.active, 1e-9)
    return {
        "rows_each": operation.rows / active,
        "active": active,
        "area": operation.hidden * operation.width,
        "rows": operation.rows,
    }


def experts_form_seconds(operation: GroupedExperts, device: Device, law: ExpertsLaw) -> Size:
    """The form alone."""
    active = np.maximum(operation.active, 1e-9)
    tiled = active * np.maximum(operation.rows / active + law.tile_rows / 2, law.tile_rows)
    compute = 2 * 3 * tiled * operation.hidden * operation.width / law.ec
    compute = compute / peak_flops(device, OPERANDS[law.format]) * (1 + law.k0 / operation.width)
    rate = device.memory_bandwidth_bytes_per_s
    memory = operation.moved_weight_bytes / rate / law.em
    moved = operation.activation_traffic_bytes / law.ea
    passed = operation.foreign_rows * operation.row_traffic_bytes / law.eo
    return law.t0 * US + pnorm(law.power, compute, memory) + (moved + passed) / rate


def experts_seconds(operation: GroupedExperts, device: Device, law: ExpertsLaw) -> Size:
    """The form and its table; nothing for a rank without rows."""
    seconds = law.corrected(experts_form_seconds(operation, device, law), experts_features(operation))
    return np.where(np.asarray(operation.rows) > 0, seconds, 0.0)
