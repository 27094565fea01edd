"""The plan: one artifact that report, graph, launch files and execution all read."""

from typing import Literal

from pydantic import Field

from shardwright.dag.schedule import Schedule, Steady
from shardwright.engine.engine import Breach
from shardwright.plan.deployment import Deployment
from shardwright.record import Record
from shardwright.units import Estimate

SCHEMA_VERSION = 5


class Figures(Record):
    """Predicted figures of a layout under the deployment's load, SI units.

    step_s: token to token while all ranks only decode; tpot_s adds the prefills of other requests.
    communication_fraction: of a step, exposed; communication_busy: that behind computing included.
    """

    step_s: Estimate
    tpot_s: Estimate
    ttft_s: Estimate
    throughput_tokens_per_s: Estimate
    throughput_per_gpu: Estimate
    communication_fraction: Estimate
    communication_busy: Estimate
    memory_bytes: Estimate


class MemoryRow(Record):
    """Bytes on the fullest rank of one role in one kind of stage. rank: the first that holds so much."""

    role: str
    stage: str
    rank: int
    dense_weights: float
    expert_weights: float
    embedding: float
    head: float
    kv: float
    activations: float
    sampler: float
    buffers: float
    runtime: float
    used: float
    left_for_kv: float
    kv_capacity_tokens: int
    kv_bytes_per_token: float

    @property
    def weights(self) -> float:
        """All of them."""
        return self.dense_weights + self.expert_weights + self.embedding + self.head


MEMORY_PARTS = (
    "dense_weights",
    "expert_weights",
    "embedding",
    "head",
    "kv",
    "activations",
    "sampler",
    "buffers",
    "runtime",
    "used",
    "left_for_kv",
)
"""Fields of a MemoryRow in bytes."""


class TargetCheck(Record):
    """One target held against its prediction. `probable`: met at the unfavourable end of the interval too."""

    name: str
    target: float
    unit: str
    predicted: float
    met: bool
    probable: bool
    probability: float
    """That a measured figure meets it, by the interval."""


class Pool(Record):
    """One group of GPUs that runs one layout."""

    role: Literal["aggregated", "prefill", "decode"] = "aggregated"
    layout: str
    """Canonical form."""
    num_gpus: int
    stage_layers: tuple[int, ...]
    sequences_per_rank: int
    schedule: Schedule
    """How the micro-batches of a decode step share the GPUs."""
    figures: Figures
    tried: tuple[Steady, ...]
    """The schedules that were held against each other, the one taken among them."""
    seconds_by_family: dict[str, float]
    """One micro-batch through all stages, decode, by family of operations."""
    memory: tuple[MemoryRow, ...]
    kv_sequences: float
    """Sequences of max_model_len that the KV cache of one attention rank holds."""
    command: tuple[str, ...] = ()
    """argv that starts one copy on the engine; empty where we write none."""


class Alternative(Record):
    """Another layout, as short as a table row."""

    layout: str
    num_gpus: int
    tpot_s: float
    ttft_s: float
    throughput_tokens_per_s: float
    communication_fraction: float
    memory_bytes: float
    meets_targets: bool
    engines: tuple[str, ...]
    """Engines whose rules it keeps."""


class Rejected(Record):
    """Layouts that one rule or limit excludes: how many, the nearest miss, and what would cure it."""

    rule: str
    sentence: str
    count: int
    example: str
    excess: float
    unit: str
    cure: str


class Plan(Record):
    """The best layout by the objective within the targets, what it was weighed against, why not others."""

    schema_version: int = SCHEMA_VERSION
    tool_version: str
    profile: str
    """Whose measurements the figures rest on, and how far they are from the device."""
    deployment: Deployment
    engine_version: str
    pools: tuple[Pool, ...] = Field(min_length=1)
    targets: tuple[TargetCheck, ...]
    obstacles: tuple[Breach, ...] = ()
    """What keeps the layout from running at all; a searched one has none."""
    met: bool
    """The layout runs, and every target is met at the predicted values."""
    reason: str
    """Why this layout, in a sentence."""
    alternatives: tuple[Alternative, ...] = ()
    pareto: tuple[Alternative, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    num_priced: int = 0
    """Layouts that were legal and priced."""
