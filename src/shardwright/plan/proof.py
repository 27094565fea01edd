"""What a proof holds: what was executed, on what, how far it came from the unsharded model."""

from shardwright.record import Record

SCHEMA_VERSION = 1


class Collective(Record):
    """One kind of collective over all ranks, steps and micro-batches."""

    name: str
    count: int
    recorded_bytes: int
    graph_bytes: int


class FamilyProof(Record):
    """One model executed under the layout and without it.

    noise: largest difference of the unsharded model's own logits between a batch and its sequences one by
    one; tolerance: a stated multiple of it. All differences are absolute, of logits.
    """

    family: str
    checkpoint: str
    layout: str
    """As it was executed: a model without experts takes the attention part."""
    seed: int
    dtype: str
    num_sequences: int
    num_steps: int
    micro_batches: int
    noise: float
    tolerance: float
    largest_difference: float
    greedy_equal: bool
    routed_equal: bool
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
