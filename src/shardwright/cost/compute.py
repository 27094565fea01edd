"""Seconds of the compute operations on one device. Forms and symbols: head of constants.yaml."""

import numpy as np

from shardwright.cluster.device import Device
from shardwright.cost.constants import Constants
from shardwright.cost.law import US, peak_flops, pnorm
from shardwright.record import Size
from shardwright.steps.operation import Attention, Small


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


def small_seconds(operation: Small, device: Device, constants: Constants) -> Size:
    """A launch gap and the bytes."""
    law = constants.small
    return law.t0 * US + operation.bytes / device.memory_bandwidth_bytes_per_s / law.em
