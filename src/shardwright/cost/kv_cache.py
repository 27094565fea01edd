"""The KV cache of one rank: the bytes of a sequence of any length, in whole blocks, layer by layer.

A layer with a sliding window of w tokens keeps the blocks that the last w tokens lie in. They start anywhere
in a block, so they lie in up to ceil((w - 1) / b) + 1 blocks of b tokens. That is the cache while decoding: a
prefill holds the tokens of its own step beside it until it ends.
"""

from dataclasses import dataclass

from shardwright.record import Size


@dataclass(frozen=True, kw_only=True)
class KvCache:
    """layers: (window, or None; how many such layers). Numbers, or arrays over layouts."""

    layers: tuple[tuple[int | None, Size], ...] = ()
    """() on a rank that keeps no KV."""
    layer_bytes_per_token: Size = 0.0
    """Of one token in one layer."""
    block_tokens: int

    def sequence_bytes(self, length: int) -> Size:
        """Bytes of a sequence of `length` tokens."""
        blocks = -(-length // self.block_tokens)
        kept: Size = 0
        for window, count in self.layers:
            kept = kept + count * min(blocks, self._window_blocks(window, blocks))
        return kept * (self.block_tokens * self.layer_bytes_per_token)

    def _window_blocks(self, window: int | None, blocks: int) -> int:
        return blocks if window is None else -(-(window - 1) // self.block_tokens) + 1
