"""What a running server says of itself, and how that stands to a plan."""

from typing import Literal

from shardwright.record import Record

Verdict = Literal["agrees", "differs", "other load", "not said"]
"""other load: the server does not work under the plan's load now, so its figure says nothing of the plan's;
not said: by the server, or by the plan."""


class Quantile(Record):
    """Seconds, interpolated linearly between the bounds of the histogram's bucket that it lies in; None where
    that bucket has no end."""

    value_s: float | None
    low_s: float
    high_s: float | None


class Distribution(Record):
    """Measured by the server: how many, their exact mean, and quantiles as near as its buckets have them."""

    count: int
    mean_s: float | None
    p50: Quantile
    p90: Quantile
    p99: Quantile


class SaidLayout(Record):
    """Degrees of one copy, None where the server does not say. dp: attention DP ranks that step together.

    stage_gpus: GPUs of one stage. copies: replicas behind the same address.
    """

    tp: int | None = None
    dp: int | None = None
    pp: int | None = None
    ep: int | None = None
    stage_gpus: int | None = None
    copies: int | None = None


class SaidCache(Record):
    """The KV cache of one attention rank: blocks (pages), tokens of a block, tokens in all."""

    blocks: int | None = None
    block_tokens: int | None = None
    tokens: int | None = None
    dtype: str | None = None


class Said(Record):
    """All that stands still while a server runs. models: the names it answers to, and their folder."""

    version: str | None = None
    models: tuple[str, ...] = ()
    layout: SaidLayout = SaidLayout()
    cache: SaidCache = SaidCache()
    dtype: str | None = None
    quantisation: str | None = None
    max_model_len: int | None = None
    max_sequences: int | None = None
    """Of one attention rank, in a step."""
    max_batched_tokens: int | None = None
    memory_share: float | None = None
    """Of a GPU's memory, as the engine's own flag counts it."""
    weight_bytes: float | None = None
    """Of one GPU, measured by the server when it loaded them."""


class RankState(Record):
    """One attention rank now: requests in steps, requests waiting, used share of its KV cache."""

    rank: int
    running: int | None
    waiting: int | None
    kv_usage: float | None


class Observed(Record):
    """Measured by the server: since it started, or over `over_s` seconds where those are stated.

    Rates need an interval, and are None without. prefix_hits: share of prompt tokens found in the cache.
    """

    over_s: float | None
    ttft: Distribution | None
    tpot: Distribution | None
    itl: Distribution | None
    prompt_tokens: int | None
    output_tokens: int | None
    output_tokens_per_s: float | None
    preemptions: int | None
    prefix_hits: float | None


class Held(Record):
    """One thing that the plan says beside what the server says of it."""

    what: str
    planned: str
    found: str
    verdict: Verdict


class PlanAudit(Record):
    """The server held against a plan."""

    name: str
    layout: str
    engine_version: str
    rows: tuple[Held, ...]

    @property
    def agrees(self) -> bool:
        """Nothing that the server says differs."""
        return all(row.verdict != "differs" for row in self.rows)


class Inspection(Record):
    """A running server, read once or twice: measurements and its own statements, no prediction of ours.

    engine: its id. unread: what the server did not offer, in sentences.
    """

    schema_version: int = 1
    tool_version: str
    url: str
    engine: str
    title: str
    said: Said
    ranks: tuple[RankState, ...]
    observed: Observed
    unread: tuple[str, ...] = ()
    audit: PlanAudit | None = None
    """None where no plan was given."""
