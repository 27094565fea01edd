"""What a rank does, one operation at a time. Sizes are numbers, or arrays with one entry a layout.

An operation says how much work it is and over which group; how long it takes is cost/'s to say,
what it does to tensors run/'s. A collective over one rank is no work: interpreters skip it, so that
one program serves every degree.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from shardwright.model.dtype import Dtype
from shardwright.record import Size
from shardwright.steps.spread import Spread

Phase = Literal["prefill", "decode"]

ExchangeKernel = Literal["all_to_all", "normal", "low_latency"]
"""all_to_all: of the collective library. normal, low_latency: DeepEP's; the first sends a row once to each
node and each rank that needs it, the second once for each chosen expert. Source: DeepEP, docs/legacy.md."""

Family = Literal["gemm", "attention", "experts", "small", "all_reduce", "gather", "exchange", "transfer"]
"""Operations whose errors of prediction go together."""

COMMUNICATION: frozenset[Family] = frozenset({"all_reduce", "gather", "exchange", "transfer"})


@dataclass(frozen=True, kw_only=True)
class Operation:
    """`times`: how often the rank does it in this program, e.g. once for each of 8 equal layers.

    layer: the layer it belongs to, the first of those that are counted together; None outside of them.
    Operations of equal work compare equal, whichever layer they belong to.
    """

    family: ClassVar[Family]
    name: str
    times: Size = 1
    layer: int | None = field(default=None, compare=False)

    @property
    def flops(self) -> Size:
        """Floating-point operations of one time, multiply and add counted as two."""
        return 0

    @property
    def bytes(self) -> Size:
        """Bytes of one time: moved through device memory (compute), or of the payload (communication)."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Gemm(Operation):
    """[m, k] x [k, n] with weights of `weight_bytes` an element and activations of `activation_bytes`.

    batch: so many of them in one kernel, each with rows and weights of its own; None is a kernel for one.
    """

    family = "gemm"
    m: Size
    n: Size
    k: Size
    weight_dtype: Dtype
    weight_bytes: float
    in_blocks: bool = False
    """Whether blocks of rows and columns of the weights share a scale."""
    activation_bytes: float = 2.0
    batch: Size | None = None

    @property
    def num_gemms(self) -> Size:
        """In the kernel."""
        return 1 if self.batch is None else self.batch

    @property
    def flops(self) -> Size:
        return self.num_gemms * 2 * self.m * self.n * self.k

    @property
    def moved_weight_bytes(self) -> Size:
        """Bytes of the weights that are read."""
        return self.num_gemms * self.n * self.k * self.weight_bytes

    @property
    def bytes(self) -> Size:
        rows = self.num_gemms * self.m * (self.n + self.k)
        return self.moved_weight_bytes + rows * self.activation_bytes


@dataclass(frozen=True, kw_only=True)
class Attention(Operation):
    """Attention of `sequences` x `query_tokens` over `context` tokens of KV each (queries included).

    row_bytes: KV bytes of one token on this rank, one layer, stored as kv_dtype. kv_heads: independent KV
    streams a sequence (1 for MLA). window: tokens that a query sees at most, its own included; `context`
    counts those in the window of any query. Prefill is causal: a query sees half of the last `query_tokens`
    on average.
    """

    family = "attention"
    phase: Phase
    sequences: Size
    query_tokens: Size
    context: Size
    heads: Size
    kv_heads: Size
    qk_dim: Size
    v_dim: Size
    row_bytes: Size
    kv_dtype: Dtype = "bf16"
    window: Size | None = None
    latent: bool = False
    """MLA: prefill expands its latent KV first, decode goes against it as it is."""

    @property
    def seen_tokens(self) -> Size:
        """KV tokens that a query sees on average: query i of q sees min(window, context - q + i)."""
        if self.window is None:
            return self.context - (self.query_tokens - 1) / 2
        # Queries before the window is full lack `most`, most - 1, ... down to `least` of its tokens.
        least: Size = np.maximum(self.window - self.context, 0)
        most: Size = np.maximum(self.window - self.context + self.query_tokens - 1, 0)
        lacking = (most * (most + 1) - least * (least - 1)) / 2
        return self.window - lacking / self.query_tokens

    @property
    def windowed(self) -> Size:
        """1 where the window hides tokens from a query, else 0. A decoded token that sees a full window is
        taken to have more tokens before it."""
        if self.window is None:
            return 0
        return 1 * (self.context > self.window - (self.query_tokens == 1))

    @property
    def group(self) -> Size:
        """Query heads that share one KV stream."""
        return self.heads / self.kv_heads

    @property
    def head_dim(self) -> Size:
        """Of a key and of a value on average."""
        return (self.qk_dim + self.v_dim) / 2

    @property
    def flops(self) -> Size:
        per_query = 2 * self.heads * (self.qk_dim + self.v_dim) * self.seen_tokens
        return self.sequences * self.query_tokens * per_query

    @property
    def bytes(self) -> Size:
        return self.sequences * self.context * self.row_bytes


@dataclass(frozen=True, kw_only=True)
class GroupedExperts(Operation):
    """Gate, up and down of `active` experts over `rows` token rows: the rank with most work.

    width: the slice of an expert's intermediate size that this rank holds. foreign_rows: of the tokens that
    the kernel sees, the rows whose experts are elsewhere: it passes over them.
    """

    family = "experts"
    rows: Size
    foreign_rows: Size = 0
    active: Size
    hidden: int
    width: Size
    weight_dtype: Dtype
    weight_bytes: float
    in_blocks: bool = False
    """Whether blocks of rows and columns of the weights share a scale."""
    activation_bytes: float = 2.0

    @property
    def flops(self) -> Size:
        return 2 * self.rows * 3 * self.hidden * self.width

    @property
    def moved_weight_bytes(self) -> Size:
        """Bytes of the expert weights that are read."""
        return self.active * 3 * self.hidden * self.width * self.weight_bytes

    @property
    def activation_traffic_bytes(self) -> Size:
        """Activations of all rows that are computed."""
        return self.rows * self.row_traffic_bytes

    @property
    def row_traffic_bytes(self) -> Size:
        """Of one row: in, gate and up out, their product in and out, out."""
        return (2 * self.hidden + 4 * self.width) * self.activation_bytes

    @property
    def bytes(self) -> Size:
        return self.moved_weight_bytes + self.activation_traffic_bytes


@dataclass(frozen=True, kw_only=True)
class Small(Operation):
    """A short memory-bound kernel: norm, rope and cache write, activation, top-k, sampling."""

    family = "small"
    moved_bytes: Size

    @property
    def bytes(self) -> Size:
        return self.moved_bytes


@dataclass(frozen=True, kw_only=True)
class Communication(Operation):
    """Work of the `num_ranks` ranks of `axis` together; none where that is one rank."""

    axis: str
    num_ranks: Size
    payload_bytes: Size

    @property
    def bytes(self) -> Size:
        return self.payload_bytes


@dataclass(frozen=True, kw_only=True)
class AllReduce(Communication):
    """Sum over the ranks; payload_bytes is the buffer of one rank."""

    family = "all_reduce"


@dataclass(frozen=True, kw_only=True)
class Gather(Communication):
    """All-gather or reduce-scatter; payload_bytes is the whole (gathered) buffer."""

    family = "gather"
    reduces: bool = False


@dataclass(frozen=True, kw_only=True)
class Exchange(Communication):
    """One direction of an all-to-all of token rows: dispatch to the experts or combine back.

    payload_bytes: what the busiest rank sends or receives, rows that stay on the rank included. remote: the
    share of the payload that leaves the rank under expected routing. dedicated: between attention GPUs and
    expert GPUs of their own, which may be on other nodes altogether. row_bytes: of one row on its way.
    kernel: that moves the rows. combines: back from the experts. spread: of a token's rows, where the kernel
    is one of DeepEP's.
    """

    family = "exchange"
    remote: Size
    dedicated: bool = False
    row_bytes: float = 0.0
    kernel: ExchangeKernel = "all_to_all"
    combines: bool = False
    spread: Spread | None = None


@dataclass(frozen=True, kw_only=True)
class Transfer(Communication):
    """Activations to the next stage, or from the one before. num_ranks: stages of the pipeline."""

    family = "transfer"
    sends: bool
