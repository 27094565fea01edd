"""The audit: everything found in one deployment document, as values that can be printed as they are."""

from typing import Literal

from pydantic import Field

from shardwright.engine.engine import Verdict
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Pool, TargetCheck
from shardwright.record import Record

SCHEMA_VERSION = 1

Status = Literal["confirmed", "contradicted", "unsupported"]
"""unsupported: the inputs cannot decide it."""


class ReadingRow(Record):
    """One layout that the strategy can mean, held against the GPUs.

    engines: those whose rules the layout keeps. shortfall: GPUs that it lacks in the cluster.
    """

    gpus: int
    gpus_per_copy: int
    layout: str
    rule: str
    sentence: str
    source: str
    contradicts: str
    also: tuple[str, ...]
    engines: tuple[str, ...]
    matches_declared: bool
    fits_cluster: bool
    shortfall: int


class Nearest(Record):
    """The legal layout nearest to the stated degrees on the GPUs given, and what it takes a GPU."""

    layout: str
    gpus: int
    fits_memory: bool
    memory_bytes: float
    sentence: str


class GrowthStep(Record):
    """A count of GPUs, and the readings that become possible there."""

    gpus: int
    more_gpus: int
    """Beyond the cluster."""
    layouts: tuple[str, ...]


class Finding(Record):
    """One statement of the document held against the inputs, the model of costs, or its other statements.

    claim, truth: as stated and as it is. arithmetic: the steps, ready to print; numbers: the same for
    programs. decisive: contradicted in a way that capacity or speed rests on.
    """

    id: str
    title: str
    status: Status
    claim: str
    truth: str
    sentence: str
    arithmetic: tuple[str, ...] = ()
    numbers: dict[str, float] = Field(default_factory=dict)
    decisive: bool = False


class Balance(Record):
    """How evenly one quantity lies on the units that share it. ratio: largest / mean."""

    id: str
    title: str
    largest: float
    mean: float
    ratio: float
    unit: str
    balanced: bool
    sentence: str


class Module(Record):
    """One part of a copy of the model: a stage's attention ranks, or a group of experts.

    ranks: in the engine's order, first copy.
    """

    title: str
    modules: int
    ranks: tuple[int, ...]


class Risk(Record):
    """What can go wrong, or how much room there is."""

    id: str
    title: str
    level: Literal["none", "low", "high"]
    sentence: str
    numbers: dict[str, float] = Field(default_factory=dict)


class Recommendation(Record):
    """A change and what it gains. is_bound: gain_s is what it gains at most.

    gain_fraction: of TPOT. gain_bytes: device memory a GPU.
    """

    id: str
    title: str
    gain_s: float
    gain_fraction: float
    gain_bytes: float = 0.0
    is_bound: bool
    sentence: str


class Better(Record):
    """The best layout on a number of GPUs, beside the layout under audit."""

    scope: Literal["same GPUs", "all usable GPUs"]
    pool: Pool
    targets: tuple[TargetCheck, ...]
    met: bool
    engines: tuple[str, ...]
    reason: str
    """How the search came to it."""
    because: tuple[str, ...]
    """Where the layout under audit loses against it; empty without one."""


class Reason(Record):
    """One criterion of readiness and how it went."""

    id: str
    outcome: Literal["holds", "condition", "fails"]
    sentence: str


class Readiness(Record):
    """The verdict: `reasons` holds every criterion, failures first."""

    level: Literal["ready", "ready with conditions", "not ready"]
    reasons: tuple[Reason, ...]


class Audit(Record):
    """What the auditor found. Without a single layout to price, `layout` and `pool` are None and all that
    rests on them is empty."""

    schema_version: int = SCHEMA_VERSION
    tool_version: str
    deployment: Deployment
    strategy: str
    declared_gpus: int
    readings: tuple[ReadingRow, ...]
    verdicts: tuple[Verdict, ...]
    layout: str | None
    choice: str
    """Why that layout is priced, or why none is."""
    priced_on: str
    """The engine whose rules and memory the figures assume."""
    nearest: Nearest | None
    growth: tuple[GrowthStep, ...]
    pool: Pool | None
    targets: tuple[TargetCheck, ...]
    map_layout: str | None
    """The layout that the document's own map of GPUs amounts to."""
    findings: tuple[Finding, ...]
    balance: tuple[Balance, ...]
    modules: tuple[Module, ...]
    risks: tuple[Risk, ...]
    recommendations: tuple[Recommendation, ...]
    better: tuple[Better, ...]
    verdict: Readiness
    notes: tuple[str, ...] = ()

    def finding(self, id: str) -> Finding:
        """The finding with that id. Raises KeyError."""
        for row in self.findings:
            if row.id == id:
                return row
        raise KeyError(id)
