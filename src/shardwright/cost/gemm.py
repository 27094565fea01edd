"""Seconds of a GEMM.

    t = t0 + pnorm(2 b m64 n k / peak / ec (1 + k0 / k), bytes / rate / em) [+ b m k (2 + B) / rate / eq]

b: GEMMs in one batch; m64: rows padded to 64; rate: of the memory. The last term quantises the activations,
where a kernel needs it.
"""

import numpy as np

from shardwright.cluster.device import Device
from shardwright.cost.law import OPERANDS, US, Law, padded, peak_flops, pnorm
from shardwright.record import Size
from shardwright.steps.operation import Gemm

TILE_ROWS = 64


class GemmLaw(Law):
    """t0 in us; ec, em, eq: efficiencies of compute, memory and quantisation (None: not needed); k0: the
    depth at which a kernel's start costs as much as its work; power: of the norm; tile_rows: what rows are
    padded to."""

    FEATURES = ("m", "n", "k", "batch")

    tile_rows: int = TILE_ROWS
    t0: float
    ec: float
    em: float
    k0: float
    power: float
    eq: float | None = None


def gemm_features(operation: Gemm) -> dict[str, Size]:
    """What the table of a law goes by."""
    return {"m": operation.m, "n": operation.n, "k": operation.k, "batch": operation.num_gemms}


def gemm_form_seconds(operation: Gemm, device: Device, law: GemmLaw) -> Size:
    """The form alone."""
    flops = operation.num_gemms * 2 * padded(operation.m, law.tile_rows) * operation.n * operation.k
    compute = flops / peak_flops(device, OPERANDS[law.format]) / law.ec
    compute = compute * (1 + law.k0 / np.maximum(operation.k, 1))
    bandwidth = device.memory_bandwidth_bytes_per_s
    memory = operation.bytes / bandwidth / law.em
    seconds = law.t0 * US + pnorm(law.power, compute, memory)
    if law.eq is None:
        return seconds
    quantised = (
        operation.num_gemms
        * operation.m
        * operation.k
        * (operation.activation_bytes + operation.weight_bytes)
    )
    return seconds + quantised / bandwidth / law.eq


def gemm_seconds(operation: Gemm, device: Device, law: GemmLaw) -> Size:
    """The form and its table."""
    return law.corrected(gemm_form_seconds(operation, device, law), gemm_features(operation))
