"""The tokens of one micro-batch, as the ranks of one layout see them."""

from dataclasses import dataclass

import numpy as np

from shardwright.engine.engine import Degrees
from shardwright.model.spec import ModelSpec
from shardwright.record import Size
from shardwright.steps.operation import Phase
from shardwright.workload.routing import RoutingProfile, activated_per_rank, hottest_rank_factor
from shardwright.workload.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Load:
    """One micro-batch on one attention rank.

    context counts the tokens of KV behind each sequence, its own queries included.
    expert_rows, active_experts: rows and distinct experts on the busiest expert rank, expected.
    """

    phase: Phase
    sequences: Size
    query_tokens: Size
    context: Size
    expert_rows: Size = 0
    active_experts: Size = 0
    stage_tokens: Size | None = None
    """Tokens of all dp ranks of the stage; None: as many on each."""

    @property
    def tokens(self) -> Size:
        """Tokens on one attention rank; the tp ranks of a group hold the same ones."""
        return self.sequences * self.query_tokens


def routed_load(
    phase: Phase,
    *,
    model: ModelSpec,
    degrees: Degrees,
    sequences: Size,
    query_tokens: Size,
    context: Size,
    routing: RoutingProfile,
    busy_ranks: Size | None = None,
) -> Load:
    """The load with its expected routing: tokens of all dp ranks meet, split over edp expert sets.

    sequences: of the micro-batch on each dp rank; on `busy_ranks` of them, where the others have none.
    """
    if model.experts is None:
        return Load(phase=phase, sequences=sequences, query_tokens=query_tokens, context=context)
    experts = model.experts
    stage_tokens = sequences * query_tokens * (degrees.dp if busy_ranks is None else busy_ranks)
    tokens = np.asarray(stage_tokens / degrees.edp, dtype=float)
    ep = np.asarray(degrees.ep)
    factor = hottest_rank_factor(routing, experts.num_experts, experts.top_k, tokens, ep)
    active = activated_per_rank(routing, experts.num_experts, experts.top_k, tokens, ep)
    return Load(
        phase=phase,
        sequences=sequences,
        query_tokens=query_tokens,
        context=context,
        expert_rows=tokens * experts.top_k / ep * factor,
        active_experts=active,
        stage_tokens=stage_tokens,
    )


def decode_load(model: ModelSpec, degrees: Degrees, workload: Workload, micro_batches: Size) -> Load:
    """A decode step of one micro-batch of a full house, at its mean context, with its expected routing."""
    sequences = np.ceil(workload.batch / np.asarray(degrees.copies * degrees.dp))
    return routed_load(
        "decode",
        model=model,
        degrees=degrees,
        sequences=np.ceil(sequences / micro_batches),
        query_tokens=1,
        context=workload.mean_context,
        routing=workload.routing,
    )
