"""Seconds of decode attention: one new token of each sequence against its KV.

    t = t0 + pnorm(wave, memory, compute) + walk

wave: (w + g group) x sequences x KV heads / SMs, the thread blocks in turn; memory: KV, queries and outputs
at em of the data sheet's rate; compute: at ec of its peak; walk: kl log2(tiles of KV) where blocks are fewer
than SMs, and the parts of a split context are put together.

Those who measure a kernel run it again and again: KV that fits in the L2 cache is then read from there, at
`hot` of the time. Between two runs in a model all weights and the KV of all other layers pass through that
cache, so a plan's KV is never in it.
"""

import numpy as np

from shardwright.cluster.device import Device
from shardwright.cost.law import US, Law, padded, peak_flops, pnorm
from shardwright.record import Size
from shardwright.steps.operation import Attention

KV_TILE = 128
"""Tokens of KV that a thread block takes at once: the steps of all measured kernels lie at its multiples."""

QUERY_TILE = 64
"""Query heads of one KV stream that are multiplied at once, or as many rows of nothing: the M of Hopper's
wgmma (PTX ISA, wgmma.mma_async: m64nNk16)."""

EVICTION = 8
"""How sharply KV that outgrows the cache leaves it."""


class DecodeLaw(Law):
    """Its form says what the symbols mean (times in us). cache_mb: 10^6 bytes of KV that stay in the cache.

    latent: of MLA, against its latent KV. head_dims: those measured, keys and values averaged.
    """

    FEATURES = ("tiles", "blocks", "group", "head_dim", "kv_bytes")

    latent: bool = False
    head_dims: tuple[float, ...]
    t0: float
    wave: float
    group_wave: float
    em: float
    ec: float
    walk: float
    power: float
    cache_mb: float
    hot: float


def decode_features(operation: Attention) -> dict[str, Size]:
    """What the table of a law goes by, and the bytes that tell its bands apart."""
    return {
        "tiles": _tiles(operation),
        "blocks": operation.sequences * operation.kv_heads,
        "group": operation.group,
        "head_dim": operation.head_dim,
        "kv_bytes": operation.bytes,
    }


def measured_decode_seconds(operation: Attention, device: Device, law: DecodeLaw) -> Size:
    """The form alone, for one kernel run again and again."""
    share = operation.bytes / (law.cache_mb * 1e6)
    cached = 1 / (1 + np.minimum(share, 1e3) ** EVICTION)
    return _form_seconds(operation, operation.bytes * (1 - (1 - law.hot) * cached), device, law)


def decode_seconds(operation: Attention, device: Device, law: DecodeLaw) -> Size:
    """In a model: the form and its table, KV in memory, which nothing reads faster than the data sheet."""
    seconds = law.corrected(
        _form_seconds(operation, operation.bytes, device, law), decode_features(operation)
    )
    return np.maximum(seconds, operation.bytes / device.memory_bandwidth_bytes_per_s)


def _form_seconds(operation: Attention, kv_bytes: Size, device: Device, law: DecodeLaw) -> Size:
    blocks = operation.sequences * operation.kv_heads
    wave = (law.wave + law.group_wave * operation.group) * US * blocks / device.num_sms
    rows = operation.sequences * operation.heads * (operation.qk_dim + operation.v_dim) * 2
    memory = (kv_bytes + rows) / device.memory_bandwidth_bytes_per_s / law.em
    padding = padded(operation.group, QUERY_TILE) / operation.group
    compute = padding * operation.flops / peak_flops(device, "bf16") / law.ec
    walk = np.where(blocks < device.num_sms, law.walk * US * np.log2(np.maximum(_tiles(operation), 1)), 0.0)
    return law.t0 * US + pnorm(law.power, wave, memory, compute) + walk


def _tiles(operation: Attention) -> Size:
    """Of KV that a query touches, part of one where that is all; a window begins inside of a tile."""
    share = np.asarray(operation.context) / KV_TILE
    tiles: Size = np.where(share > 1, np.ceil(share), share) + operation.windowed
    return tiles
