"""The rank program: in order, everything that one rank does for one micro-batch of one step.

The same generator is summed by cost/, recorded by the graph and bound to tensors by the runtime.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from shardwright.engine.engine import Degrees
from shardwright.layout.grid import Role
from shardwright.model.spec import LayerShape, ModelSpec
from shardwright.steps.attention import norm
from shardwright.steps.forms import Forms, hidden_sum
from shardwright.steps.layer import attention_layer, expert_layer
from shardwright.steps.load import Load
from shardwright.steps.operation import Gather, Gemm, Operation, Small, Transfer

LOGIT_BYTES = 4.0
"""Logits are sampled in fp32."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One pipeline stage: its layers as runs of (shape, how many), and whether the model starts or ends here.

    A run of one layer each gives the program layer by layer; equal layers may be counted together.
    first_layer: index of the first; stages of equal runs do equal work, and compare equal, wherever they are.
    """

    runs: tuple[tuple[LayerShape, int], ...]
    first: bool
    last: bool
    first_layer: int = field(default=0, compare=False)


def rank_program(
    model: ModelSpec, degrees: Degrees, stage: Stage, load: Load, role: Role, forms: Forms
) -> Iterator[Operation]:
    """The operations of one rank of `role` in `stage`.

    `degrees` and the sizes of `load` may be arrays over layouts of one home.
    """
    if role != "experts":
        yield from opening(model, degrees, load, forms, first=stage.first)
    layer = stage.first_layer
    for shape, count in stage.runs:
        for operation in layer_program(model, shape, degrees, load, role, forms):
            yield replace(operation, layer=layer, times=count)
        layer += count
    if role != "experts":
        yield from closing(model, degrees, load, last=stage.last)


def opening(
    model: ModelSpec, degrees: Degrees, load: Load, forms: Forms, *, first: bool
) -> Iterator[Operation]:
    """Before the layers of a stage: the embedding, or what the stage before sends."""
    if first:
        yield from _embed(model, degrees, load, forms)
    else:
        yield _handover(model, degrees, load, sends=False)


def layer_program(
    model: ModelSpec, shape: LayerShape, degrees: Degrees, load: Load, role: Role, forms: Forms
) -> Iterator[Operation]:
    """One layer of this shape on one rank of `role`."""
    if role == "experts":
        return expert_layer(model, shape, degrees, load, forms)
    return attention_layer(model, shape, degrees, load, forms)


def closing(model: ModelSpec, degrees: Degrees, load: Load, *, last: bool) -> Iterator[Operation]:
    """Behind the layers of a stage: the next token, or what the next stage gets."""
    if last:
        yield from _sample(model, degrees, load)
    else:
        yield _handover(model, degrees, load, sends=True)


def _embed(model: ModelSpec, degrees: Degrees, load: Load, forms: Forms) -> Iterator[Operation]:
    moved_bytes = 2 * load.tokens * model.hidden * model.activation_bytes
    yield Small(name="embedding", moved_bytes=moved_bytes)
    yield from hidden_sum("embedding_sum", model, load, degrees.tp, forms)


def _sample(model: ModelSpec, degrees: Degrees, load: Load) -> Iterator[Operation]:
    """Final norm, head on the last token of each sequence, gather of the logits, sampling."""
    yield norm(model, load, "final_norm")
    # The head is kept in 16 bits where the layers are quantised (DeepSeek-V3's and Qwen's fp8 checkpoints).
    head_bytes = max(2.0, model.weight_bytes)
    yield Gemm(
        name="head",
        m=load.sequences,
        n=model.vocab / degrees.tp,
        k=model.hidden,
        weight_dtype="bf16" if head_bytes == 2.0 else model.weight_dtype,
        weight_bytes=head_bytes,
    )
    logits_bytes = load.sequences * model.vocab * LOGIT_BYTES
    yield Gather(name="logits_gather", axis="tp", num_ranks=degrees.tp, payload_bytes=logits_bytes)
    yield Small(name="sampling", moved_bytes=2 * logits_bytes)


def _handover(model: ModelSpec, degrees: Degrees, load: Load, *, sends: bool) -> Transfer:
    return Transfer(
        name="send_stage" if sends else "receive_stage",
        axis="pp",
        num_ranks=degrees.pp,
        payload_bytes=load.tokens * model.hidden * model.activation_bytes,
        sends=sends,
    )
