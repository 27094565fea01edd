"""What an engine is to us: how it counts and orders ranks, what it can run, what it keeps for itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from shardwright.cluster.cluster import Cluster
from shardwright.cluster.device import Device
from shardwright.engine.launcher import Launcher
from shardwright.layout.grid import Grid, build_grid
from shardwright.layout.layout import ExpertHome, Layout
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec
from shardwright.record import Record, Size

ExchangeMode = Literal["gather", "all_to_all", "deepep", "deepep_normal", "deepep_low_latency"]
"""How tokens reach experts: all-gather + reduce-scatter (no top-k factor), or rows to their experts, by an
all-to-all of the collective library or by DeepEP; `deepep` changes its kernels with the phase."""


Kernels = Literal["vllm", "sglang", "trtllm", "torch"]
"""Whose kernels compute: those of an engine whose operators were measured, or torch's own."""


class Degrees(Protocol):
    """The degrees of one layout (a Layout) or of many layouts of one home (arrays)."""

    @property
    def tp(self) -> Size: ...
    @property
    def dp(self) -> Size: ...
    @property
    def pp(self) -> Size: ...
    @property
    def ep(self) -> Size: ...
    @property
    def etp(self) -> Size: ...
    @property
    def edp(self) -> Size: ...
    @property
    def copies(self) -> Size: ...
    @property
    def redundant(self) -> Size: ...
    @property
    def home(self) -> ExpertHome: ...


@dataclass(frozen=True, kw_only=True)
class SumLimit:
    """Up to how many bytes an engine sums by kernels of its own, by the number of ranks; None: always.

    named: part of the device's name; "": any. joined: whether the GPUs have links of their own, or PCIe
    alone.
    """

    named: str = ""
    joined: bool = True
    up_to_bytes: dict[int, int] | None


@dataclass(frozen=True, kw_only=True)
class OwnSums:
    """When an engine sums over a TP group by kernels of its own, and not by its collective library.

    The first of `limits` that fits a device holds. across_nodes: also between the nodes of a scale-up domain.
    """

    limits: tuple[SumLimit, ...]
    across_nodes: bool = False
    source: str

    def largest_bytes(self, device: Device, num_ranks: Size) -> Size:
        """The largest buffer; 0 for a number of ranks that the engine has no kernel for."""
        fits = (
            limit
            for limit in self.limits
            if limit.named in device.name and limit.joined == (device.scale_up_gpus > 1)
        )
        limit = next(fits, None)
        ranks = np.asarray(num_ranks)
        if limit is None:
            return np.zeros(ranks.shape)
        if limit.up_to_bytes is None:
            return np.full(ranks.shape, np.inf)
        largest: Size = np.zeros(ranks.shape)
        for count, num_bytes in limit.up_to_bytes.items():
            largest = np.where(ranks == count, num_bytes, largest)
        return largest


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of an engine's law.

    breach(degrees, model, cluster) is 0 where the rule holds, else by how much it is broken, in
    `unit`; it uses array arithmetic only, so that one call judges many layouts. It is one number for
    all of them where it does not depend on the degrees. A cluster of None is one without end.
    cure says in words the cheapest change that makes it hold.
    """

    id: str
    sentence: str
    source: str
    breach: Callable[[Degrees, ModelSpec, Cluster | None], Size]
    unit: str
    cure: str


class Breach(Record):
    """A rule that one layout breaks."""

    rule: str
    sentence: str
    excess: float
    unit: str
    cure: str
    source: str


@dataclass(frozen=True, kw_only=True)
class SchedulerLimits:
    """Scheduler defaults on devices of at least `from_bytes` whose name holds none of `not_named`."""

    from_bytes: float
    max_batched_tokens: int
    max_sequences: int
    not_named: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MemoryRule:
    """What the engine takes from a GPU's memory beside weights and KV cache.

    Taken = weights + `runtime_bytes` (context, communication buffers: one entry for a single rank, one
    for several) + the larger of the activations of a step of max_batched_tokens and the sampler's
    bytes_per_logit x max_sequences x vocabulary, which are never held at once. The KV cache, in blocks
    of block_tokens, is
        utilisation x memory_bytes - taken        where utilisation is `of` the device's memory,
        utilisation x (memory_bytes - taken)      where it is `of` the memory left free,
        utilisation x memory_bytes - weights      where it is `of` what is `static`: the rest is the engine's.
    stated_of: what a utilisation is of when somebody states it, where that differs from the default's.
    activation_bytes_per_token: an engine that reserves for activations by a constant a batched token,
    whatever the model, states it here.
    reserve(degrees, model, device, limits): an engine that keeps so many bytes beside weights and KV, by a
    formula of its own, states it here: activations, runtime and buffers are within it.
    """

    utilisation: float
    of: Literal["device", "free", "static"] = "device"
    stated_of: Literal["static"] | None = None
    runtime_bytes_alone: float = 0.0
    runtime_bytes_grouped: float = 0.0
    sampler_bytes_per_logit: float
    activation_bytes_per_token: float | None = None
    reserve: Callable[[Degrees, ModelSpec, Device, SchedulerLimits], Size] | None = None
    limits: tuple[SchedulerLimits, ...]
    """Largest devices first; the last row holds for every device."""
    block_tokens: int
    source: str

    def limits_on(self, device: Device) -> SchedulerLimits:
        """The first row of `limits` that `device` satisfies."""
        name = device.name.lower()
        return next(
            row
            for row in self.limits
            if device.memory_bytes >= row.from_bytes and not any(word in name for word in row.not_named)
        )


@dataclass(frozen=True, kw_only=True)
class Scheduler:
    """How an engine takes up requests by default.

    mixes: sequences that decode go on in a step with prompts, else they wait. splits: a prompt that does not
    fit in a step is cut. reserve: share of the answers to come that the KV cache keeps room for when a
    request is taken up; where it then runs out of room, the youngest request starts again.
    """

    mixes: bool = True
    splits: bool = True
    reserve: float = 0.0
    source: str


class Verdict(Record):
    """What an engine says to a strategy string taken literally.

    arguments: the literal arguments; nearest: canonical form of the nearest legal layout and the
    arguments that make it, when the literal form is refused or means something else.
    """

    engine: str
    version: str
    accepted: bool
    rule: str
    sentence: str
    arguments: str
    gpus: int | None = None
    layout: str | None = None
    nearest: str | None = None
    nearest_arguments: str | None = None
    source: str


Hides = Literal["all", "exchanges"]
"""What computing can go on beside: any communication, or the exchange of tokens with experts alone."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """How an engine computes for one micro-batch while another's rows are on their way.

    micro_batches: how many a stage it can have under way. exchange: of the back end that this needs.
    max_pp, needs_dp: layouts that it works on. interference: share of its speed that computing loses while
    its GPU communicates. flags: the arguments that switch it on.
    """

    micro_batches: tuple[int, ...]
    exchange: ExchangeMode
    hides: Hides
    max_pp: int | None = None
    needs_dp: bool = False
    vendor: str | None = None
    interference: float = 0.0
    flags: tuple[str, ...] = ()
    source: str

    def works(self, degrees: Degrees, cluster: Cluster) -> Size:
        """Whether it does, for one layout or for each of many of one home and one pp."""
        if self.vendor not in (None, cluster.device.vendor):
            return False
        fits = self.max_pp is None or degrees.pp <= self.max_pp
        return np.logical_and(fits, np.greater(degrees.dp, 1)) if self.needs_dp else fits


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where the facts of an engine stand that are not rules: each with the version it was read in."""

    ranks: str
    exchange: str
    stages: str
    flags: str


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One engine and version. `rank_order` and `expert_order` name axes from slowest to fastest.

    id: the name, and of an older version name@version.
    """

    id: str
    version: str
    title: str
    homes: tuple[ExpertHome, ...]
    rules: tuple[Rule, ...]
    rank_order: tuple[str, ...]
    expert_order: tuple[str, ...]
    exchange: ExchangeMode
    stages: Callable[[int, int], tuple[int, ...]]
    """(num_layers, pp) -> layers of each stage by the engine's default."""
    memory: MemoryRule
    sources: Sources
    read: Callable[[Stated, ModelSpec], Verdict]
    """The literal reading of a strategy string."""
    scheduler: Scheduler = Scheduler(source="assumption: what is no server schedules as vLLM does")
    launcher: Launcher | None = None
    """None where there is nothing to start: an engine that is only read, or that trains."""
    overlap: Overlap | None = None
    """None where it has none."""
    kernels: Kernels = "vllm"
    """Those that stand for its own: an engine that nobody measured computes by the same libraries as vLLM."""
    own_sums: OwnSums | None = None
    """None where its collective library sums."""
    sums_in_levels: bool = False
    """Whether a sum over a TP group on several nodes can be made hierarchical; else its library chooses."""

    @property
    def name(self) -> str:
        """The id without a version: vllm of vllm@0.32."""
        return self.id.partition("@")[0]


def engine_grid(engine: Engine, layout: Layout) -> Grid:
    """The ranks of the layout as the engine numbers them; with GPUs for experts alone, as ours does."""
    folded = layout.home == "folded"
    return build_grid(layout, engine.rank_order, engine.expert_order) if folded else build_grid(layout)


def breaches(engine: Engine, layout: Layout, model: ModelSpec, cluster: Cluster | None) -> list[Breach]:
    """The rules of `engine` that `layout` breaks; empty when it is legal. A cluster of None has no end."""
    return broken(engine.rules, layout, model, cluster)


def broken(
    rules: tuple[Rule, ...], layout: Layout, model: ModelSpec, cluster: Cluster | None
) -> list[Breach]:
    """The rules of a table that `layout` breaks, in the table's order."""
    found = []
    for rule in rules:
        excess = float(np.max(rule.breach(layout, model, cluster)))
        if excess > 0:
            found.append(
                Breach(
                    rule=rule.id,
                    sentence=rule.sentence,
                    excess=excess,
                    unit=rule.unit,
                    cure=rule.cure,
                    source=rule.source,
                )
            )
    return found
