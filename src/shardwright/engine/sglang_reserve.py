"""What SGLang keeps of a GPU beside weights and KV: mem_fraction_static = (memory - reserve) / memory.

Read in the wheel of 0.5.23, sglang/srt/arg_groups/memory_hook.py:47-399, cuda_graph_hook.py:480-497. In MiB:

    512                                 metadata
    + 1.5 x tokens of a chunked prefill
    + 128 x GPUs of a copy
    + 2 x largest decode graph          in sequences
    + 3 x that x DP                     where attention is DP; 4.5 where the graph is above 300 sequences
    + 8 x prefill graphs                MLA: 1,536 in all
    and no less than 10,240             on a GPU of more than 60 GiB

Left out: the fraction is rounded to three digits, DeepEP's buffers and images have reserves of their own, and
a server that sizes its cache after the graphs are captured keeps less.
"""

import numpy as np

from shardwright.cluster.device import Device
from shardwright.engine.engine import Degrees, SchedulerLimits
from shardwright.model.spec import MLA, ModelSpec
from shardwright.record import Size
from shardwright.units import GIB, MIB

ACTIVATION_BYTES_PER_TOKEN = 1.5 * MIB

DECODE_GRAPHS = (
    (160 * GIB, 512, 512),
    (60 * GIB, 256, 512),
    (35 * GIB, 32, 160),
    (20 * GIB, 48, 160),
    (0, 8, 8),
)
"""(device from, sequences of the largest decode graph with less than 4 GPUs a stage, with more)."""

PREFILL_GRAPHS = (
    (4, 32, 4),
    (48, 256, 16),
    (288, 512, 32),
    (576, 1024, 64),
    (1280, 4096, 256),
    (4608, 10_000_000, 512),
)
"""(first, last, step) of the token counts that prefill graphs are captured for."""


def reserved_bytes(degrees: Degrees, model: ModelSpec, device: Device, limits: SchedulerLimits) -> Size:
    """Bytes on every GPU of a copy. limits.max_batched_tokens: a chunk of a prefill, before DP divides it."""
    tokens, ranks = limits.max_batched_tokens, np.asarray(degrees.tp * degrees.dp)
    _, few, many = next(row for row in DECODE_GRAPHS if device.memory_bytes >= row[0])
    graph = np.where(ranks < 4, few, many)
    padding = np.where(np.asarray(degrees.dp) > 1, np.where(graph > 300, 4.5, 3.0) * graph * degrees.dp, 0.0)
    captured = sum(len(range(first, min(last, tokens) + 1, step)) for first, last, step in PREFILL_GRAPHS)
    in_prefill = 1536 if isinstance(model.attention, MLA) else 8 * captured
    graphs_mib = 2 * graph + padding + in_prefill
    reserve: Size = (512 + 128 * ranks * degrees.pp + graphs_mib) * MIB
    reserve = reserve + max(tokens, 2048) * ACTIVATION_BYTES_PER_TOKEN
    return np.maximum(reserve, 10 * GIB) if device.memory_bytes > 60 * GIB else reserve
