"""How tokens reach their experts and return, around the expert computation.

`all_to_all`: each rank of a TP group dispatches its slice of the group's tokens, k rows a token, to the
ranks that hold the chosen experts; the sum over tp after the combine merges the slices (and the partial
sums of ETP and of the shared experts). Source: DeepEP; DeepSeek-V3 (arXiv 2412.19437, section 3.2.2).

DeepEP moves fp8 rows with a scale for each 128 values to experts in 8 bits or fewer, and 16-bit rows back.
Its normal kernels send a row once to each rank that holds any of a token's experts, its low-latency kernels
once for each expert. Source: DeepEP, docs/legacy.md (FP8 dispatch and BF16 combine).

`gather`: the ranks gather all tokens of the stage, compute their own experts on them, and reduce-scatter
the results: no top-k factor. Source: vLLM 0.33, allgather_reducescatter, its default; with TP and DP
together each rank contributes a slice of its sequence (sequence-parallel MoE).
"""

from collections.abc import Iterator

import numpy as np

from shardwright.engine.engine import Degrees
from shardwright.model.dtype import BITS
from shardwright.model.spec import Experts, ModelSpec
from shardwright.record import Size
from shardwright.steps.forms import Forms, hidden_sum
from shardwright.steps.load import Load
from shardwright.steps.operation import Exchange, ExchangeKernel, Gather, GroupedExperts, Operation
from shardwright.steps.spread import spread_of

SCALED = 1 + 4 / 128
"""Bytes of an fp8 value on its way, its part of a 4-byte scale included."""


def routed_experts(
    model: ModelSpec, experts: Experts, degrees: Degrees, load: Load, forms: Forms
) -> Iterator[Operation]:
    """Dispatch, experts, combine, and the sums that end the layer, on a rank with attention and experts."""
    if forms.kernel(load.phase) == "gather":
        yield from _gathered(model, experts, degrees, load, forms)
    else:
        yield from _dispatched(model, experts, degrees, load, forms)


def sent_to_experts(
    model: ModelSpec, experts: Experts, degrees: Degrees, load: Load, forms: Forms, *, combines: bool
) -> Exchange:
    """One direction of the exchange between attention ranks and experts.

    A row goes to each of the etp ranks of its expert. The busiest rank is the sender or the hottest
    expert rank, whichever moves more. Between GPUs of different roles the collective library moves the rows.
    """
    folded = degrees.home == "folded"
    form = forms.kernel(load.phase)
    kernel: ExchangeKernel = form if folded and form != "gather" else "all_to_all"
    sent_rows = load.tokens * experts.top_k * degrees.etp / degrees.tp
    attention_ranks = 0 if folded else degrees.tp * degrees.dp
    expert_ranks = degrees.ep if folded else degrees.ep * degrees.etp * degrees.edp
    spread = spread_of(experts) if kernel in ("normal", "low_latency") else None
    merged = spread.parts_hit(degrees.ep) / experts.top_k if spread and kernel == "normal" else 1.0
    each = row_bytes(model, kernel, combines)
    return Exchange(
        name="combine" if combines else "dispatch",
        axis="exchange",
        num_ranks=attention_ranks + expert_ranks,
        payload_bytes=np.maximum(sent_rows, load.expert_rows) * merged * each,
        remote=1 - 1 / degrees.ep if folded else 1.0,
        dedicated=not folded,
        row_bytes=each,
        kernel=kernel,
        combines=combines,
        spread=spread,
    )


def row_bytes(model: ModelSpec, kernel: ExchangeKernel, combines: bool) -> float:
    """Bytes of one row on its way to an expert, or back."""
    narrow = kernel in ("normal", "low_latency") and not combines and BITS[model.expert_dtype] <= 8
    return model.hidden * (SCALED if narrow else model.activation_bytes)


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
    yield sent_to_experts(model, experts, degrees, load, forms, combines=False)
    yield expert_compute(model, experts, degrees, load)
    yield sent_to_experts(model, experts, degrees, load, forms, combines=True)
    yield Gather(
        name="lane_scatter", axis="etp", num_ranks=joined, payload_bytes=gathered_bytes, reduces=True
    )
    yield from hidden_sum("experts_sum", model, load, degrees.tp, forms)


def _gathered(
    model: ModelSpec, experts: Experts, degrees: Degrees, load: Load, forms: Forms
) -> Iterator[Operation]:
    sliced = (degrees.dp > 1) & (degrees.tp > 1) & (degrees.ep == degrees.tp * degrees.dp)
    over_ep, over_dp = np.where(sliced, degrees.ep, 1), np.where(sliced, 1, degrees.dp)
    token_bytes = model.hidden * model.activation_bytes
    all_tokens = load.tokens * degrees.dp if load.stage_tokens is None else load.stage_tokens
    for axis, num_ranks in (("ep", over_ep), ("dp", over_dp)):
        yield Gather(
            name=f"{axis}_gather", axis=axis, num_ranks=num_ranks, payload_bytes=all_tokens * token_bytes
        )
    yield expert_compute(model, experts, degrees, load, all_tokens)
    for axis, num_ranks in (("ep", over_ep), ("dp", over_dp)):
        yield Gather(
            name=f"{axis}_scatter",
            axis=axis,
            num_ranks=num_ranks,
            payload_bytes=all_tokens * token_bytes,
            reduces=True,
        )
    yield Gather(
        name="sequence_gather",
        axis="tp",
        num_ranks=np.where(sliced, degrees.tp, 1),
        payload_bytes=load.tokens * token_bytes,
    )
    yield from hidden_sum("experts_sum", model, load, np.where(sliced, 1, degrees.tp), forms)
