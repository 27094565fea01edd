"""How much: lengths, load and targets of one deployment."""

from pydantic import model_validator

from shardwright.record import Count, Fraction, Record, Stated
from shardwright.workload.routing import RoutingProfile

REQUESTS_A_CLIENT = 10
"""Of a closed loop: as many as the public benchmarks send (InferenceX, AIPerf)."""


USUAL_SPREAD = 0.1
"""Of lengths, where nobody states it: what InferenceX draws (0.8 to 1 of a nominal length)."""


def spread_within(tokens: int, longest: int, spread: float = USUAL_SPREAD) -> float:
    """`spread`, or as much of it as keeps requests of `tokens` on average within `longest`.

    >>> spread_within(1000, 2000), spread_within(1000, 1040), spread_within(1000, 1000)
    (0.1, 0.04, 0.0)
    """
    return min(spread, max(0, longest - tokens) * 1000 // tokens / 1000)


class Workload(Record):
    """A closed loop of requests of these mean lengths, in tokens.

    `batch` counts sequences in flight over all copies of the model; max_model_len is the longest sequence
    (input and output) that the engine is set up for. spread: lengths are drawn evenly from 1 - spread to 1 +
    spread of their means; 0: all are equal.
    """

    batch: Count
    input_tokens: Count
    output_tokens: Count
    max_model_len: Count
    spread: Fraction = 0.0
    routing: RoutingProfile = RoutingProfile()

    @model_validator(mode="after")
    def _lengths_fit(self) -> "Workload":
        if self.input_tokens + self.output_tokens > self.max_model_len:
            raise ValueError(
                f"input_tokens {self.input_tokens} + output_tokens {self.output_tokens} "
                f"exceed max_model_len {self.max_model_len}"
            )
        if self.spread > spread_within(
            self.input_tokens + self.output_tokens, self.max_model_len, self.spread
        ):
            raise ValueError(
                f"lengths up to {1 + self.spread:g} x (input_tokens {self.input_tokens} + output_tokens "
                f"{self.output_tokens}) exceed max_model_len {self.max_model_len}"
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
