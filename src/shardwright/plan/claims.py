"""What a document says of its own deployment. The auditor holds every claim against the inputs."""

from shardwright.record import Count, CountOrZero, Fraction, Record, Stated


class GpuMap(Record):
    """Which GPUs of one copy do what, as a document assigns them."""

    attention: tuple[tuple[CountOrZero, ...], ...] = ()
    """GPUs of each pipeline stage."""
    experts: tuple[CountOrZero, ...] = ()
    """GPUs that hold experts only, for all stages."""


class StrategyClaim(Record):
    """A strategy that the document speaks of, and the GPUs it says that needs."""

    layout: str
    gpus: Count


class Claims(Record):
    """Stated figures. Absent ones are not audited. Ratios and shares are held to the digits given."""

    gpus: Count | None = None
    gpu_utilisation: Fraction | None = None
    """GPUs used over GPUs of the cluster."""
    spare_gpus: CountOrZero | None = None
    replicas: Count | None = None
    micro_batches: Count | None = None
    modules: Count | None = None
    experts_per_gpu: Stated | None = None
    layers_per_stage: Stated | None = None
    sequences_per_replica: Stated | None = None
    model_gb: Stated | None = None
    parameters_billion: Stated | None = None
    memory_gb: Stated | None = None
    """Used memory a GPU, GB = 10^9 bytes."""
    memory_utilisation: Fraction | None = None
    memory_headroom: Fraction | None = None
    tpot_ms: Stated | None = None
    """The document's latency, read as the time between two tokens of a sequence."""
    ttft_ms: Stated | None = None
    latency_gain: Stated | None = None
    """Target latency over claimed latency."""
    latency_reduction: Fraction | None = None
    """1 - claimed over target latency."""
    throughput_tokens_per_s: Stated | None = None
    throughput_gain: Stated | None = None
    """Claimed over target throughput."""
    communication_fraction: Fraction | None = None
    communication_gain: Stated | None = None
    """Target over claimed communication share."""
    gpu_map: GpuMap | None = None
    strategies: tuple[StrategyClaim, ...] = ()
