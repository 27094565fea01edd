"""One transformer layer on one rank, by role."""

from collections.abc import Iterator

from shardwright.engine.engine import Degrees
from shardwright.model.spec import LayerShape, ModelSpec
from shardwright.record import Size
from shardwright.steps.attention import attention_block, gemm, norm
from shardwright.steps.exchange import expert_compute, routed_experts, sent_to_experts
from shardwright.steps.forms import Forms, hidden_sum
from shardwright.steps.load import Load
from shardwright.steps.operation import Operation, Small


def attention_layer(
    model: ModelSpec, shape: LayerShape, degrees: Degrees, load: Load, forms: Forms
) -> Iterator[Operation]:
    """A layer on a rank with attention: with its experts when they are folded, else up to their GPUs."""
    yield from attention_block(model, shape, degrees, load, forms)
    yield norm(model, load, "mlp_norm")
    if shape.mlp == "dense" or model.experts is None:
        yield from _gated_mlp(model, degrees, load, "mlp", model.dense_width)
        yield from hidden_sum("mlp_sum", model, load, degrees.tp, forms)
        return
    experts = model.experts
    yield gemm(model, "router", load.tokens, experts.num_experts, model.hidden)
    yield Small(name="top_k", moved_bytes=2 * load.tokens * experts.num_experts * 4)
    if experts.shared_width:
        yield from _gated_mlp(model, degrees, load, "shared", experts.shared_width)
    if degrees.home == "folded":
        yield from routed_experts(model, experts, degrees, load, forms)
    else:
        yield sent_to_experts(model, experts, degrees, load, forms, combines=False)
        yield sent_to_experts(model, experts, degrees, load, forms, combines=True)
        yield from hidden_sum("experts_sum", model, load, degrees.tp, forms)


def expert_layer(
    model: ModelSpec, shape: LayerShape, degrees: Degrees, load: Load, forms: Forms
) -> Iterator[Operation]:
    """A layer on a GPU that holds experts only; nothing where the layer is dense."""
    if shape.mlp == "moe" and model.experts is not None:
        yield sent_to_experts(model, model.experts, degrees, load, forms, combines=False)
        yield expert_compute(model, model.experts, degrees, load)
        yield sent_to_experts(model, model.experts, degrees, load, forms, combines=True)


def _gated_mlp(model: ModelSpec, degrees: Degrees, load: Load, name: str, width: Size) -> Iterator[Operation]:
    local = width / degrees.tp
    yield gemm(model, f"{name}_gate_up", load.tokens, 2 * local, model.hidden)
    yield Small(name=f"{name}_activation", moved_bytes=3 * load.tokens * local * model.activation_bytes)
    yield gemm(model, f"{name}_down", load.tokens, model.hidden, local)
