"""How much: lengths, load and targets of one deployment."""

from pydantic import model_validator

from shardwright.record import Count, Fraction, Record, Stated
from shardwright.workload.routing import RoutingProfile


class Workload(Record):
    """A steady load of requests that all have these lengths, in tokens.

    `batch` counts sequences in flight over all copies of the model; max_model_len is the longest
    sequence (input and output) that the engine is set up for.
    """

    batch: Count
    input_tokens: Count
    output_tokens: Count
    max_model_len: Count
    routing: RoutingProfile = RoutingProfile()

    @model_validator(mode="after")
    def _lengths_fit(self) -> "Workload":
        if self.input_tokens + self.output_tokens > self.max_model_len:
            raise ValueError(
                f"input_tokens {self.input_tokens} + output_tokens {self.output_tokens} "
                f"exceed max_model_len {self.max_model_len}"
            )
        return self

    @property
    def mean_context(self) -> float:
        """Tokens of KV behind a decode step, averaged over the life of a request.

        Prefill makes the first output token; the steps that make tokens 2 .. n see input + 1 .. n-1.
        """
        return self.input_tokens + self.output_tokens / 2


CLIENT_TARGETS = ("tpot_ms", "ttft_ms", "throughput_tokens_per_s")
"""Targets of what clients see: how far these may be off was measured."""


class Targets(Record):
    """What the deployment must reach; an absent field is no target.

    tpot_ms and ttft_ms are means; throughput counts output tokens of the whole deployment.
    """

    tpot_ms: Stated | None = None
    ttft_ms: Stated | None = None
    throughput_tokens_per_s: Stated | None = None
    communication_fraction: Fraction | None = None
    """Exposed communication as a share of a decode step."""
    memory_gb: Stated | None = None
    """Limit of used memory a GPU, GB = 10^9 bytes."""
