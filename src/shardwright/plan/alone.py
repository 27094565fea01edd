"""What one rank of a plan takes when it runs alone: measured times and bytes, predicted ones beside them."""

from typing import Literal

from shardwright.layout.grid import Role
from shardwright.record import Record
from shardwright.steps.operation import Phase
from shardwright.units import Estimate

SCHEMA_VERSION = 1

Kernels = Literal["eager", "fused"]
"""As a layout is proved, one kernel after another; or as a GPU is used."""


class Spread(Record):
    """Seconds measured over several repetitions: their median, the fastest and the slowest."""

    median_s: float
    low_s: float
    high_s: float


class StretchTime(Record):
    """Computation between two communications, that `until` the second, over all layers; 'end' is the last."""

    until: str
    measured: Spread
    predicted_s: float


class PhaseMeasurement(Record):
    """One step of one micro-batch on the rank, computation alone: no communication is in it."""

    phase: Phase
    sequences: int
    """Of the micro-batch, on one attention rank; 0 tokens are the rank's own when it holds experts only."""
    query_tokens: int
    """New tokens of each sequence."""
    context: int
    """Tokens of KV behind each sequence, the new ones included."""
    expert_rows: int
    """Token rows that the rank's experts compute in one layer, as on the busiest rank; 0 without experts."""
    measured: Spread
    predicted_s: Estimate
    stretches: tuple[StretchTime, ...]
    kv_bytes: int
    """Held for the micro-batch at that context."""
    predicted_kv_bytes: float
    peak_bytes: int


class RankMeasurement(Record):
    """One rank executed alone on one device, its peers' answers made up. Never a measurement of a cluster.

    dtype: as executed; stated_in: as the plan has the weights. executed_as: the family whose modules ran.
    predicted_for: the plan's GPU; same_device: whether the rank ran on such a one. Only then does
    measured beside predicted say how good the prediction is.
    """

    schema_version: int = SCHEMA_VERSION
    tool_version: str
    date: str
    """ISO 8601."""
    model: str
    executed_as: str
    layout: str
    rank: int
    role: Role
    stages: tuple[int, ...]
    device: str
    torch_version: str
    transformers_version: str
    dtype: str
    stated_in: str
    attention_kernel: str
    expert_kernel: str
    seed: int
    warm_ups: int
    repetitions: int
    predicted_for: str
    same_device: bool
    weight_bytes: int
    predicted_weight_bytes: float
    """Of the fullest rank of this role and stage."""
    peak_is: str
    """What peak_bytes counts."""
    phases: tuple[PhaseMeasurement, ...]
