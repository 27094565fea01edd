"""What a run holds: what was asked and answered, and what was measured while a layout generated it."""

from typing import Annotated, Literal

from pydantic import Field

from shardwright.layout.grid import Role
from shardwright.plan.proof import Trial
from shardwright.record import Count, Record

SCHEMA_VERSION = 1

Mode = Literal["in-process", "processes", "torchrun"]
"""One process plays every rank; a process a rank on this machine; a process a rank, started by torchrun."""


class Sampling(Record):
    """temperature 0 takes the most likely token. top_k, top_p: drawn from these only; None is no limit.

    A draw depends on seed, sequence and place alone, so that every layout draws alike.
    """

    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_k: Count | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class Answer(Record):
    """One sequence. prompt: None where token ids were given; text: None without a tokenizer.

    tokens: as generated, with the one that stops it where one does; text: without that, and without
    other special tokens.
    """

    prompt: str | None
    prompt_tokens: tuple[int, ...]
    tokens: tuple[int, ...]
    text: str | None
    finished_by: Literal["stop", "length"]


class Timing(Record):
    """Measured by rank 0, from when all ranks have their weights. All sequences go step by step together.

    ttft_s: until every sequence has its first token; tpot: of the decode steps after it, None without
    any. throughput: tokens of all answers over the seconds of all steps.
    """

    ttft_s: float
    tpot_median_s: float | None
    tpot_max_s: float | None
    throughput_tokens_per_s: float
    num_prefill_steps: int
    num_decode_steps: int


class RankTotal(Record):
    """What one rank held at the end, and read of the checkpoint; measured."""

    rank: int
    role: Role
    stages: tuple[int, ...]
    weight_bytes: int
    kv_bytes: int
    bytes_read: int


class Traffic(Record):
    """One kind of collective, summed over ranks, steps and micro-batches: how often, and its buffers' bytes.

    Bytes are counted as the rank program counts them: the whole buffer, or the busier direction.
    """

    name: str
    count: int
    bytes: int


class Generation(Record):
    """Tokens generated with a layout on our runtime, which proves layouts: no serving engine.

    layout: as executed; a model without experts takes the attention part. random_weights: a tiny
    checkpoint, whose text is noise. Collectives are without control traffic.
    """

    schema_version: int = SCHEMA_VERSION
    tool_version: str
    torch_version: str
    transformers_version: str
    layout: str
    mode: Mode
    checkpoint: str
    random_weights: bool
    dtype: str
    device: str
    sampling: Sampling
    trial: Trial
    answers: tuple[Answer, ...]
    measured: Timing
    ranks: tuple[RankTotal, ...]
    collectives: tuple[Traffic, ...]
