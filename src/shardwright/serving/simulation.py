"""A simulated load as a result: what served it, what it was, and what its clients saw."""

from typing import Literal

from shardwright.engine.engine import Breach
from shardwright.record import Count, Record
from shardwright.serving.outcome import Outcome
from shardwright.serving.requests import Lengths
from shardwright.workload.workload import Targets


class Load(Record):
    """closed: `concurrency` requests in flight; open: `rate_per_s` on average, whatever is in flight; static:
    one batch, all sent at once."""

    kind: Literal["closed", "open", "static"]
    concurrency: Count | None = None
    rate_per_s: float | None = None
    burstiness: float = 1.0
    num_requests: Count
    input_tokens: Lengths
    output_tokens: Lengths
    seed: int = 0


class Simulation(Record):
    """What clients of a layout would see under a load, and what that rests on. A prediction.

    kv_tokens: that the KV cache of one attention rank holds; most_sequences, most_tokens: of one, in a step.
    """

    schema_version: Literal[1] = 1
    name: str
    layout: str
    num_gpus: int
    engine: str
    software: str
    load: Load
    targets: Targets
    kv_tokens: int
    most_sequences: int
    most_tokens: int
    outcome: Outcome
    obstacles: tuple[Breach, ...] = ()
    """What keeps the layout from running at all."""
    met: bool
    """It runs, and every target of TTFT, TPOT and throughput is met, at the means."""
    basis: str
