"""What a proof holds: what was executed, on what, how far it came from the unsharded model."""

from shardwright.record import Count, Record

SCHEMA_VERSION = 1


class Trial(Record):
    """How a layout is executed in a proof.

    near_ranks: neighbours of a TP group that sum first (a hierarchical all-reduce); 1 is a flat one.
    chunk_tokens: prompts are prefilled in pieces of at most so many tokens; None in one. batched: an
    exchange of all micro-batches is one message a peer; else each micro-batch has its own.
    """

    micro_batches: Count = 2
    near_ranks: Count = 1
    chunk_tokens: Count | None = None
    batched: bool = False


class Collective(Record):
    """One kind of collective over all ranks, steps and micro-batches."""

    name: str
    count: int
    recorded_bytes: int
    graph_bytes: int


class FamilyProof(Record):
    """One model executed under the layout and without it.

    noise: largest difference of the unsharded model's own logits between a batch and its sequences one by
    one; tolerance: a stated multiple of it, or in bf16, where it is 0 on a CPU, of the distance from fp32.
    All differences are absolute, of logits. strayed_sequences: those of which a token chose other experts;
    none in fp32, and in bf16 compared up to there.
    """

    family: str
    checkpoint: str
    layout: str
    """As it was executed: a model without experts takes the attention part."""
    seed: int
    dtype: str
    num_sequences: int
    num_steps: int
    trial: Trial
    noise: float
    tolerance: float
    largest_difference: float
    greedy_equal: bool
    strayed_sequences: int
    collectives: tuple[Collective, ...]
    bytes_equal: bool
    """Every collective of every rank moved the bytes of the graph rebuilt with the routing that occurred."""
    weights_equal: bool
    """Weight bytes of every rank equal the sharding rules'."""
    kv_equal: bool
    """KV bytes of every rank equal the memory model's, for the tokens that were cached."""
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures


class Proof(Record):
    """The layout executed on our runtime: no statement about an engine, nor about speed."""

    schema_version: int = SCHEMA_VERSION
    tool_version: str
    layout: str
    layout_hash: str
    mode: str
    families: tuple[FamilyProof, ...]
    passed: bool
    seconds: float
    """Measured, of the whole proof."""
