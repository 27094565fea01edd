"""How tokens reach their experts and return, around the expert computation.

`all_to_all`: each rank of a TP group dispatches its slice of the group's tokens, k rows a token, to the
ranks that hold the chosen experts; the sum over tp after the combine merges the slices (and the partial
sums of ETP and of the shared experts). Source: DeepEP; DeepSeek-V3 (arXiv 2412.19437, section 3.2.2).

`gather`: the ranks gather all tokens of the stage, compute their own experts on them, and reduce-scatter
the results: no top-k factor. Source: vLLM 0.33, allgather_reducescatter, its default; with TP and DP
together each rank contributes a slice of its sequence (sequence-parallel MoE).
"""

from collections.abc import Iterator

import numpy as np

from shardwright.engine.engine import Degrees
from shardwright.model.spec import Experts, ModelSpec
from shardwright.record import Size
from shardwright.steps.forms import Forms, hidden_sum
from shardwright.steps.load import Load
from shardwright.steps.operation import Exchange, Gather, GroupedExperts, Operation


def routed_experts(
    model: ModelSpec, experts: Experts, degrees: Degrees, load: Load, forms: Forms
) -> Iterator[Operation]:
    """Dispatch, experts, combine, and the sums that end the layer, on a rank with attention and experts."""
    if forms.exchange == "gather":
        yield from _gathered(model, experts, degrees, load, forms)
    else:
        yield from _dispatched(model, experts, degrees, load, forms)


def sent_to_experts(model: ModelSpec, experts: Experts, degrees: Degrees, load: Load, name: str) -> Exchange:
    """One direction of the exchange between attention ranks and experts.

    A row goes to each of the etp ranks of its expert. The busiest rank is the sender or the hottest
    expert rank, whichever moves more.
    """
    row_bytes = model.hidden * model.activation_bytes
    folded = degrees.home == "folded"
    sent_rows = load.tokens * experts.top_k * degrees.etp / degrees.tp
    attention_ranks = 0 if folded else degrees.tp * degrees.dp
    expert_ranks = degrees.ep if folded else degrees.ep * degrees.etp * degrees.edp
    return Exchange(
        name=name,
        axis="exchange",
        num_ranks=attention_ranks + expert_ranks,
        payload_bytes=np.maximum(sent_rows, load.expert_rows) * row_bytes,
        remote=1 - 1 / degrees.ep if folded else 1.0,
        dedicated=not folded,
    )


def expert_compute(
    model: ModelSpec, experts: Experts, degrees: Degrees, load: Load, seen_tokens: Size = 0
) -> GroupedExperts:
    """The grouped GEMMs of the busiest expert rank. seen_tokens: of all ranks, where it sees them all."""
    return GroupedExperts(
        name="experts",
        rows=load.expert_rows,
        foreign_rows=np.maximum(seen_tokens * experts.top_k - load.expert_rows, 0),
        active=load.active_experts,
        hidden=model.hidden,
        width=experts.width / degrees.etp,
        weight_dtype=model.expert_dtype,
        weight_bytes=model.expert_bytes,
        in_blocks=model.in_blocks(model.expert_dtype),
        activation_bytes=model.activation_bytes,
    )


def _dispatched(
    model: ModelSpec, experts: Experts, degrees: Degrees, load: Load, forms: Forms
) -> Iterator[Operation]:
    # An ETP group wider than a TP group joins several dp ranks: their tokens are gathered first.
    joined = np.maximum(1, degrees.etp / degrees.tp)
    gathered_bytes = load.tokens * joined * model.hidden * model.activation_bytes
    yield Gather(name="lane_gather", axis="etp", num_ranks=joined, payload_bytes=gathered_bytes)
    yield sent_to_experts(model, experts, degrees, load, "dispatch")
    yield expert_compute(model, experts, degrees, load)
    yield sent_to_experts(model, experts, degrees, load, "combine")
    yield Gather(
        name="lane_scatter", axis="etp", num_ranks=joined, payload_bytes=gathered_bytes, reduces=True
    )
    yield from hidden_sum("experts_sum", model, load, degrees.tp, forms)


def _gathered(
    model: ModelSpec, experts: Experts, degrees: Degrees, load: Load, forms: Forms
) -> Iterator[Operation]:
    sliced = (degrees.dp > 1) & (degrees.tp > 1) & (degrees.ep == degrees.tp * degrees.dp)
    over_ep, over_dp = np.where(sliced, degrees.ep, 1), np.where(sliced, 1, degrees.dp)
    row_bytes = model.hidden * model.activation_bytes
    all_tokens = load.tokens * degrees.dp if load.stage_tokens is None else load.stage_tokens
    for axis, num_ranks in (("ep", over_ep), ("dp", over_dp)):
        yield Gather(
            name=f"{axis}_gather", axis=axis, num_ranks=num_ranks, payload_bytes=all_tokens * row_bytes
        )
    yield expert_compute(model, experts, degrees, load, all_tokens)
    for axis, num_ranks in (("ep", over_ep), ("dp", over_dp)):
        yield Gather(
            name=f"{axis}_scatter",
            axis=axis,
            num_ranks=num_ranks,
            payload_bytes=all_tokens * row_bytes,
            reduces=True,
        )
    yield Gather(
        name="sequence_gather",
        axis="tp",
        num_ranks=np.where(sliced, degrees.tp, 1),
        payload_bytes=load.tokens * row_bytes,
    )
    yield from hidden_sum("experts_sum", model, load, np.where(sliced, 1, degrees.tp), forms)
