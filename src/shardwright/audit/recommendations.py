"""What would make the layout faster or roomier, each with its gain. What gains nothing says so."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from shardwright.audit.placing import several
from shardwright.audit.record import Recommendation
from shardwright.audit.step import Step, number
from shardwright.audit.subject import Subject
from shardwright.cost.memory import RankMemory
from shardwright.cost.wires import start_seconds
from shardwright.model.kv import kv_bytes_per_token_per_layer_per_rank
from shardwright.model.spec import GQA
from shardwright.search import choices
from shardwright.search.choices import Choice
from shardwright.search.timing import plain_timing
from shardwright.steps.operation import Exchange, Gather, Operation
from shardwright.units import format_bytes, format_seconds, format_share
from shardwright.workload.routing import activated_experts

DISPATCHED_TENSORS = 3
"""Rows, expert ids and routing weights: DeepEP, deep_ep/buffer.py, Buffer.dispatch."""


def recommendations(subject: Subject) -> tuple[Recommendation, ...]:
    """All of them, the largest gain in time first, then in bytes; none without a layout."""
    if subject.layout is None:
        return ()
    step = Step(subject)
    return tuple(sorted((judge(step) for judge in RECOMMENDATIONS), key=lambda r: (-r.gain_s, -r.gain_bytes)))


def overlap(step: Step) -> Recommendation:
    """Communication hidden behind the computing of another micro-batch, by the timeline."""
    title = "Overlap communication with computation"
    busy_s = step.pass_s - step.communication_s
    sentence = (
        f"A pass has {format_seconds(step.communication_s)} of exposed communication beside "
        f"{format_seconds(busy_s)} of computation. "
    )
    choice = step.choice(choices.overlap)
    if choice is None:
        sentence += "No gain: there are too few sequences for two micro-batches a stage."
        return _timed(step, "overlap", title, 0.0, is_bound=False, sentence=sentence)
    return _timed(step, "overlap", title, _saved_s(choice), is_bound=False, sentence=sentence + _both(choice))


def batched_exchange(step: Step) -> Recommendation:
    """All tensors of a dispatch as one message, which pays the latency a + b n once instead of for each; and
    the messages of micro-batches that stand in one stage, by the timeline."""
    title = "Batch the messages of the all-to-all"
    exchanges = [operation for operation in step.operations() if _is_exchange(operation)]
    if not exchanges:
        sentence = "No gain: the layout has no exchange of tokens between GPUs."
        return _timed(step, "batched_exchange", title, 0.0, is_bound=False, sentence=sentence)
    latency_s = sum(_latency_s(operation, step) for operation in exchanges)
    dispatch_s = sum(_latency_s(operation, step) for operation in exchanges if _is_dispatch(operation))
    saved_s = dispatch_s * (DISPATCHED_TENSORS - 1)
    num_stages = step.subject.the_layout.pp
    count = step.subject.claims.micro_batches or step.subject.pool.schedule.micro_batches
    batches = several(count, "micro-batch", "micro-batches")
    merged = f"{batches} over {several(num_stages, 'stage')} are at different ones, so none are merged"
    if count == 1:
        merged = "There is one micro-batch, so none can be merged"
    choice, merged_s = step.choice(choices.batched_exchange), 0.0
    if choice is not None and count > 1:
        merged_s = _saved_s(choice)
        merged = f"With the messages of two micro-batches merged as well: {_both(choice)}"
    sentence = (
        f"The exchanges of a pass pay {format_seconds(latency_s)} of latency. Rows, expert ids and weights "
        f"sent one by one would pay {format_seconds(saved_s)} more; the prediction takes them as one "
        f"message. {merged.rstrip('.')}."
    )
    gain_s = step.of_cycle(saved_s) + merged_s
    return _timed(step, "batched_exchange", title, gain_s, is_bound=False, sentence=sentence)


def hierarchical(step: Step) -> Recommendation:
    """Sums in two levels against flat ones, by the timeline; flat, NCCL's ring or its tree."""
    title, layout = "Hierarchical all-reduce", step.subject.the_layout
    choice = step.choice(choices.hierarchy)
    if choice is None:
        sentence = f"No gain: TP groups of {layout.tp} stay inside a node, where there is one level."
        return _timed(step, "hierarchical", title, 0.0, is_bound=False, sentence=sentence)
    nodes = number(step.wires.nodes["tp"])
    sentence = f"TP groups of {layout.tp} touch {nodes:.0f} nodes. {_both(choice)}"
    return _timed(step, "hierarchical", title, _saved_s(choice), is_bound=False, sentence=sentence)


def micro_batches(step: Step) -> Recommendation:
    """One micro-batch a stage in flight, against those the document states (one, if it states none)."""
    subject, title = step.subject, "Micro-batches in the pipeline"
    num_stages, stated = subject.the_layout.pp, subject.claims.micro_batches or 1
    if num_stages == 1:
        sentence = "No gain: there is one stage, so none waits for another."
        return _timed(step, "micro_batches", title, 0.0, is_bound=False, sentence=sentence)
    if stated >= num_stages:
        sentence = f"No gain: {stated} micro-batches keep {num_stages} stages busy."
        return _timed(step, "micro_batches", title, 0.0, is_bound=False, sentence=sentence)
    slow, full = (
        plain_timing(subject.priced_on, subject.the_layout, count) for count in (stated, num_stages)
    )
    slow_s, full_s = number(slow.served.tpot_s), number(full.served.tpot_s)
    idle = max(0.0, 1 - stated / num_stages)
    sentence = (
        f"With {stated} in flight {format_share(idle)} of the GPUs wait, TPOT {format_seconds(slow_s)}; with "
        f"{num_stages}, one a stage, none wait, TPOT {format_seconds(full_s)}, as the audit predicts it. "
        f"Each micro-batch reads the weights again: that takes back {'part' if full_s < slow_s else 'all'} "
        "of the gain."
    )
    return Recommendation(
        id="micro_batches",
        title=title,
        gain_s=max(0.0, slow_s - full_s),
        gain_fraction=max(0.0, 1 - full_s / slow_s),
        is_bound=False,
        sentence=sentence,
    )


def kv_split(step: Step) -> Recommendation:
    """KV split over TP and PP, against all of it on every GPU."""
    subject, layout, model = step.subject, step.subject.the_layout, step.subject.deployment.model
    workload = subject.deployment.workload
    fullest = max(subject.price.memories, key=lambda row: number(row.kv))
    windows = Counter(shape.window for shape in model.layer_shapes)
    unsplit = replace(
        fullest.cache,
        layers=tuple(windows.items()),
        layer_bytes_per_token=kv_bytes_per_token_per_layer_per_rank(model, 1),
    )
    alone = replace(fullest, cache=unsplit)
    whole = number(alone.kv_bytes_per_token)
    here = number(fullest.kv_bytes_per_token)
    tokens = number(fullest.kv) / here
    over_tp = number(kv_bytes_per_token_per_layer_per_rank(model, 1))
    over_tp /= number(kv_bytes_per_token_per_layer_per_rank(model, layout.tp))
    length = workload.max_model_len
    now, then = (_sequences(row, length) for row in (fullest, alone))
    sentence = (
        f"The layout splits KV {over_tp:.3g} x over TP and {whole / over_tp / here:.3g} x over PP: "
        f"{format_bytes(here)} a token and GPU instead of {format_bytes(whole)}, room for {now:,} instead of "
        f"{then:,} requests of {length:,} tokens a rank."
    )
    if here == whole:
        sentence = "Nothing to split: one rank keeps all layers and heads of its sequences; DP splits these."
    if over_tp < layout.tp:
        heads = model.attention.num_kv_heads if isinstance(model.attention, GQA) else 1
        sentence += f" TP{layout.tp} over {several(heads, 'KV head')} holds copies: no gain beyond TP{heads}."
    return Recommendation(
        id="kv_split",
        title="KV cache split over TP and PP",
        gain_s=0.0,
        gain_fraction=0.0,
        gain_bytes=tokens * (whole - here),
        is_bound=False,
        sentence=sentence,
    )


def expert_balance(step: Step) -> Recommendation:
    """The busiest rank's rows and active experts brought to the mean, by placement and choice of replicas."""
    subject, experts, title = step.subject, step.subject.deployment.model.experts, "Balance the experts' load"
    layout = subject.the_layout
    if experts is None or layout.ep == 1:
        sentence = "No gain: experts are not spread over ranks."
        return _timed(step, "expert_balance", title, 0.0, is_bound=True, sentence=sentence)
    load = step.load
    mean_rows = number(load.tokens) * layout.dp / layout.edp * experts.top_k / layout.ep
    factor = number(load.expert_rows) / mean_rows
    active = _mean_active(step)
    even = step.cost(replace(load, expert_rows=mean_rows, active_experts=active))
    gain_s = max(0.0, step.devices_cycle_s - number(even.cycle_s)) * step.pace
    sentence = (
        f"The busiest rank expects {factor:.2f} x the mean rows and reads {number(load.active_experts):.1f} "
        f"experts a layer, {active:.1f} in the mean. To choose replicas of experts by load can bring it to "
        "the mean at best."
    )
    return _timed(step, "expert_balance", title, gain_s, is_bound=True, sentence=sentence)


RECOMMENDATIONS: tuple[Callable[[Step], Recommendation], ...] = (
    overlap,
    batched_exchange,
    hierarchical,
    micro_batches,
    kv_split,
    expert_balance,
)


def _timed(
    step: Step, id: str, title: str, gain_s: float, *, is_bound: bool, sentence: str
) -> Recommendation:
    return Recommendation(
        id=id,
        title=title,
        gain_s=gain_s,
        gain_fraction=gain_s / step.tpot_s,
        is_bound=is_bound,
        sentence=sentence,
    )


def _saved_s(choice: Choice) -> float:
    """Seconds of a step that the other way of a choice saves."""
    return max(0.0, -choice.gain_s)


def _both(choice: Choice) -> str:
    """The two sides of a choice, as the timeline has them."""
    outcome = "" if choice.gain_s < 0 else ": no gain"
    return (
        f"By the timeline a step takes {format_seconds(choice.instead_s)} {choice.instead}, and "
        f"{format_seconds(choice.step_s)} {choice.taken}{outcome}."
    )


def _is_exchange(operation: Operation) -> bool:
    """Whether it moves tokens to experts or back, between ranks."""
    if not isinstance(operation, Exchange | Gather) or number(operation.num_ranks) <= 1:
        return False
    return isinstance(operation, Exchange) or operation.axis in ("ep", "dp")


def _is_dispatch(operation: Operation) -> bool:
    return operation.name == "dispatch" or (isinstance(operation, Gather) and not operation.reduces)


def _latency_s(operation: Operation, step: Step) -> float:
    assert isinstance(operation, Exchange | Gather)
    return number(operation.times) * number(start_seconds(operation, step.wires))


def _mean_active(step: Step) -> float:
    subject, experts = step.subject, step.subject.deployment.model.experts
    assert experts is not None
    layout, routing = subject.the_layout, subject.deployment.workload.routing
    tokens = number(step.load.tokens) * layout.dp / layout.edp
    return number(activated_experts(routing, experts.num_experts, experts.top_k, tokens, ep=layout.ep))


def _sequences(row: RankMemory, length: int) -> int:
    return max(0, int(number(row.most_sequences(length))))
