"""Seconds of the compute operations on one device. Forms and symbols: head of constants.yaml."""

from functools import reduce

import numpy as np

from shardwright.cluster.device import Device
from shardwright.cost.constants import Constants
from shardwright.model.dtype import Dtype
from shardwright.record import Size
from shardwright.steps.operation import Attention, Gemm, GroupedExperts, Small

US = 1e-6


def gemm_seconds(operation: Gemm, device: Device, constants: Constants) -> Size:
    """t0 + pnorm(compute, memory), with the activations quantised first for narrow weights."""
    narrow = operation.weight_dtype in ("fp8", "int8", "fp4") and operation.weight_dtype in device.peak_flops
    law = constants.gemm["fp8" if narrow else "bf16"]
    rows = _padded(operation.m, constants.padding_rows)
    compute = 2 * rows * operation.n * operation.k / peak_flops(device, operation.weight_dtype) / law.ec
    compute = compute * (1 + law.k0 / np.maximum(operation.k, 1))
    memory = operation.bytes / device.memory_bandwidth_bytes_per_s / law.em
    seconds = law.t0 * US + pnorm(constants.power, compute, memory)
    if law.eq is None:
        return seconds
    quantised = operation.m * operation.k * (operation.activation_bytes + operation.weight_bytes)
    return seconds + quantised / device.memory_bandwidth_bytes_per_s / law.eq


def attention_seconds(operation: Attention, device: Device, constants: Constants) -> Size:
    """Decode is bound by KV bytes or by waves of blocks, prefill by compute."""
    bandwidth = device.memory_bandwidth_bytes_per_s
    if operation.phase == "prefill":
        law = constants.prefill
        compute = operation.flops / peak_flops(device, "bf16") / law.ec * (1 + law.ks / operation.context)
        return law.t0 * US + pnorm(constants.power, compute, operation.bytes / bandwidth / law.em)
    decode = constants.latent if operation.latent else constants.decode
    blocks = operation.sequences * operation.kv_heads
    waves = blocks / device.num_sms
    terms = [decode.wave * US * waves, operation.bytes / bandwidth / decode.em]
    if decode.ec is not None:
        terms.append(operation.flops / peak_flops(device, "bf16") / decode.ec)
    walk = np.where(waves <= 1, decode.kl * US * np.log2(1 + operation.context / 128), 0.0)
    return decode.t0 * US + pnorm(constants.power, *terms) + walk


def experts_seconds(operation: GroupedExperts, device: Device, constants: Constants) -> Size:
    """Rows padded a whole tile an expert; weights of the activated experts; traffic of the rows."""
    law = constants.experts
    active = np.maximum(operation.active, 1e-9)
    rows = active * _padded(operation.rows / active, constants.padding_rows)
    compute = 2 * rows * 3 * operation.hidden * operation.width / law.ec
    compute = compute / peak_flops(device, operation.weight_dtype)
    memory = operation.moved_weight_bytes / device.memory_bandwidth_bytes_per_s / law.em
    traffic = operation.activation_traffic_bytes / device.memory_bandwidth_bytes_per_s / law.ea
    busy = law.t0 * US + pnorm(constants.power, compute, memory) + traffic
    return np.where(np.asarray(operation.rows) > 0, busy, 0.0)


def small_seconds(operation: Small, device: Device, constants: Constants) -> Size:
    """A launch gap and the bytes."""
    law = constants.small
    return law.t0 * US + operation.bytes / device.memory_bandwidth_bytes_per_s / law.em


def peak_flops(device: Device, dtype: Dtype) -> float:
    """Dense peak of the dtype; weights that the device cannot multiply are widened to bf16 first."""
    widened = (
        device.peak_flops.get("bf16") or device.peak_flops.get("fp16") or max(device.peak_flops.values())
    )
    return device.peak_flops.get(dtype, widened)


def pnorm(power: float, *terms: Size) -> Size:
    """(a^p + b^p + ...)^(1/p): the larger term, rounded off where they meet."""
    largest: Size = np.maximum(reduce(np.maximum, terms), 1e-30)
    spread: Size = sum((term / largest) ** power for term in terms)
    return largest * spread ** (1 / power)


def _padded(rows: Size, tile: int) -> Size:
    return np.ceil(np.asarray(rows) / tile) * tile
