"""Seconds of prefill attention: the queries of a prompt, or of a chunk of it, against all KV before them.

    t = t0 + pnorm(compute, longest, memory) + written

compute: queries in whole tiles of 128, each against the tokens that it sees and half a tile that is masked,
at ec of the data sheet's peak for bf16 (kernels that multiply in fp8 reach more); longest: `tail` times what
the tile that sees most takes on one SM; memory: queries, outputs and KV at em of its rate; written: KV at ew,
what it costs to put it into the cache.
"""

import numpy as np

from shardwright.cluster.device import Device
from shardwright.cost.law import OPERANDS, US, Law, padded, peak_flops, pnorm
from shardwright.model.dtype import BITS
from shardwright.record import Size
from shardwright.steps.operation import Attention

QUERY_TILE = 128
"""Queries of one thread block: FlashAttention 3 and TensorRT-LLM's kernels at the usual head sizes."""


class PrefillLaw(Law):
    """Its form says what the symbols mean (t0 in us).

    latent: of MLA, expanded. head_dims: those measured, keys and values averaged.
    """

    FEATURES = ("seen", "blocks", "head_dim", "windowed", "group", "query_tokens")

    latent: bool = False
    head_dims: tuple[float, ...]
    t0: float
    ec: float
    em: float
    ew: float
    tail: float
    power: float


def prefill_features(operation: Attention) -> dict[str, Size]:
    """What the table of a law goes by, and the length that tells its bands apart."""
    return {
        "seen": operation.seen_tokens,
        "blocks": _blocks(operation),
        "head_dim": operation.head_dim,
        "windowed": 1 + operation.windowed,
        "group": operation.group,
        "query_tokens": operation.query_tokens,
    }


def prefill_form_seconds(operation: Attention, device: Device, law: PrefillLaw) -> Size:
    """The form alone."""
    peak = peak_flops(device, "bf16") * law.ec
    dims = operation.qk_dim + operation.v_dim
    tile = 2 * QUERY_TILE * dims
    compute = _blocks(operation) * tile * (operation.seen_tokens + QUERY_TILE / 2) / peak
    longest = law.tail * tile * padded(_most_seen(operation), QUERY_TILE) / peak * device.num_sms
    rows = operation.sequences * operation.query_tokens * operation.heads * dims * 2
    element_bytes = BITS[operation.kv_dtype] / 8
    kv = operation.sequences * operation.context * operation.kv_heads * dims * element_bytes
    bandwidth = device.memory_bandwidth_bytes_per_s
    memory = (rows + kv) / bandwidth / law.em
    return law.t0 * US + pnorm(law.power, compute, longest, memory) + kv / bandwidth / law.ew


def prefill_seconds(operation: Attention, device: Device, law: PrefillLaw) -> Size:
    """The form and its table; nothing computes faster than the data sheet says."""
    seconds = law.corrected(prefill_form_seconds(operation, device, law), prefill_features(operation))
    return np.maximum(seconds, operation.flops / peak_flops(device, OPERANDS[law.format]))


def _blocks(operation: Attention) -> Size:
    tiles = np.ceil(np.asarray(operation.query_tokens) / QUERY_TILE)
    return operation.sequences * operation.heads * tiles


def _most_seen(operation: Attention) -> Size:
    """Tokens that the last tile of queries reads."""
    if operation.window is None:
        return operation.context
    return np.minimum(operation.context, operation.window + QUERY_TILE)
