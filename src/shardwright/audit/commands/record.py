"""The audit of a command, as values that can be printed as they are."""

from typing import Literal

from pydantic import Field

from shardwright.engine.commands.reading import Given, Ignored
from shardwright.engine.engine import Verdict
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Pool, TargetCheck
from shardwright.record import Record
from shardwright.units import Estimate

SCHEMA_VERSION = 1

Level = Literal["stops", "costs", "note"]
"""The engine does not start, or cannot serve; time, memory or GPUs are lost; worth knowing."""


class CommandFinding(Record):
    """One thing about a command. cure: the cheapest change that ends it, '' where none is needed."""

    id: str
    level: Level
    sentence: str
    cure: str = ""
    source: str = ""
    numbers: dict[str, float] = Field(default_factory=dict)


class Capacity(Record):
    """What the KV cache holds. tokens, requests: over all attention ranks of all copies.

    requests: of the longest length. rank_tokens, rank_requests: on one attention rank. batch: sequences of
    the load that fit. max_model_len: the longest request that fits, up to the model's positions.
    """

    rank_tokens: int
    tokens: int
    rank_requests: float
    requests: float
    weights_fit: bool
    request_fits: bool
    batch: int
    max_model_len: int


class FlagChange(Record):
    """One flag as it is and as it would be; '' where it is absent."""

    flag: str
    now: str
    then: str


class Change(Record):
    """The best layout of the same engine on the same GPUs, as flags.

    gain: of `metric`, new over old; its ends are those of the two predictions divided, the widest that they
    allow. within_noise: those intervals overlap. None where the command under audit does not run.
    """

    layout: str
    pool: Pool
    flags: tuple[FlagChange, ...]
    command: str
    num_commands: int
    metric: Literal["throughput", "TPOT"]
    gain: Estimate | None
    within_noise: bool
    sentence: str


class CommandAudit(Record):
    """One command: what it says, what the engine makes of it, and what that is worth."""

    schema_version: int = SCHEMA_VERSION
    tool_version: str
    engine: str
    """Title and version whose rules were applied."""
    command: str
    given: tuple[Given, ...]
    ignored: tuple[Ignored, ...]
    verdict: Verdict
    deployment: Deployment
    layout: str | None
    """Canonical form; None where the engine makes none."""
    gpus: int | None
    findings: tuple[CommandFinding, ...]
    pool: Pool | None
    capacity: Capacity | None
    targets: tuple[TargetCheck, ...]
    change: Change | None
    runs: bool
    """No finding stops it."""

    @property
    def sound(self) -> bool:
        """It runs, and every target is met at the predicted value."""
        return self.runs and all(check.met for check in self.targets)
