"""How a quantised matrix is stored: its packed values, and what turns them back into weights."""

from shardwright.model.dtype import Dtype
from shardwright.record import Count, CountOrZero, Record

WORD_BITS = 32
"""Zero points are packed in words of int32 (AutoGPTQ, AutoAWQ, compressed-tensors)."""


class Scheme(Record):
    """The format of one quantised matrix [out, in], as a checkpoint holds it and a GPU loads it.

    bits: of one value; a row of them fills whole words of word_bits.
    block: rows and columns that share a scale; 0 stands for all of them, so that (0, 0) is one scale a
    tensor, (1, 0) one a row (an output channel), (1, 128) one for each 128 values of a row.
    zero_bits: of the zero point beside each scale, 0 without. index_bytes: of each column (GPTQ's g_idx).
    tensor_bytes: of all that a matrix has once: global scales, the scale of static activations, its shape.
    """

    dtype: Dtype
    bits: Count
    word_bits: Count = 8
    block: tuple[CountOrZero, CountOrZero] = (0, 0)
    scale_bytes: CountOrZero
    zero_bits: CountOrZero = 0
    index_bytes: CountOrZero = 0
    tensor_bytes: CountOrZero = 0

    def num_bytes(self, num_out: int, num_in: int) -> int:
        """Bytes of a matrix [num_out, num_in], scales and padding included."""
        rows, columns = (size or whole for size, whole in zip(self.block, (num_out, num_in), strict=True))
        num_rows, num_columns = -(-num_out // rows), -(-num_in // columns)
        values = num_out * _words(num_in * self.bits, self.word_bits)
        scales = num_rows * num_columns * self.scale_bytes
        zeros = num_columns * _words(num_rows * self.zero_bits, WORD_BITS)
        return values + scales + zeros + num_in * self.index_bytes + self.tensor_bytes

    @property
    def mean_bytes(self) -> float:
        """Bytes of one value of a large matrix: its own, and its part of a scale and a zero point."""
        rows, columns = self.block
        shared = self.scale_bytes + self.zero_bits / 8
        return self.bits / 8 + (shared / (rows * columns) if rows and columns else 0.0)


class Quantised(Record):
    """Linear layers that are stored by one scheme.

    modules: named from within a layer, 'self_attn.q_proj', experts without their number,
    'mlp.experts.gate_proj'; what stands outside of the layers by its own name, 'lm_head'.
    layers: the layers where that holds; None is everywhere.
    """

    scheme: Scheme
    modules: tuple[str, ...]
    layers: tuple[int, ...] | None = None


def _words(num_bits: int, word_bits: int) -> int:
    """Bytes of the whole words that hold num_bits."""
    return -(-num_bits // word_bits) * word_bits // 8
