"""The load that a command is priced under: as stated, else what its own limits and its KV cache allow."""

from shardwright.cost.room import most_sequences
from shardwright.engine.commands.reading import Arguments
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.plan.deployment import (
    DEFAULT_BATCH,
    DEFAULT_INPUT_TOKENS,
    DEFAULT_OUTPUT_TOKENS,
    Deployment,
    WorkloadFields,
    stated_spread,
)
from shardwright.record import validated
from shardwright.search.engine import engine_of
from shardwright.search.timing import price_layout
from shardwright.workload.workload import Workload


def with_load(
    deployment: Deployment, layout: Layout, stated: object, arguments: Arguments
) -> tuple[Deployment, bool]:
    """The deployment with its load, and whether its batch was stated. `stated`: the fields of a workload.

    Lengths: 1,024 tokens in and 512 out, less where the command allows less. Sequences in flight: the most
    that the command allows where it says so, else 128; never more than the KV cache holds, nor fewer than
    one an attention rank. Raises InputError.
    """
    given = validated(WorkloadFields, stated, field="workload")
    notes = list(deployment.assumptions)
    length, unstated = _length(deployment, given, arguments)
    notes += unstated
    lengths = {"max_model_len": length}
    for name, default, share in (
        ("input_tokens", DEFAULT_INPUT_TOKENS, 2 / 3),
        ("output_tokens", DEFAULT_OUTPUT_TOKENS, 1 / 3),
    ):
        own = getattr(given, name)
        lengths[name] = own or max(1, min(default, int(length * share)))
        if own is None:
            notes.append(f"workload.{name}: {lengths[name]}, unstated")
    batch = given.batch or given.concurrency
    spread = stated_spread(given, lengths["input_tokens"] + lengths["output_tokens"], length, notes)
    values = {"batch": 1, **lengths, "spread": spread, "routing": given.routing}
    one = validated(Workload, values, field="workload")
    in_flight = batch
    if in_flight is None:
        in_flight, why = _batch(deployment.model_copy(update={"workload": one}), layout, arguments)
        notes.append(f"workload.batch: {in_flight}, unstated: {why}")
    work = one.model_copy(update={"batch": in_flight})
    return deployment.model_copy(update={"workload": work, "assumptions": tuple(notes)}), batch is not None


def _length(deployment: Deployment, stated: WorkloadFields, arguments: Arguments) -> tuple[int, list[str]]:
    """The longest sequence, and where it comes from when nobody says."""
    most, own = deployment.model.max_positions, arguments.settings.get("max_model_len")
    if isinstance(own, int) and own < 2:
        raise InputError("max_model_len", own, "at least 2 tokens: one in and one out")
    if isinstance(own, int) or stated.max_model_len is not None:
        return min(own if isinstance(own, int) else stated.max_model_len or most, most), []
    return most, [f"workload.max_model_len: {most}, all of the model's positions, as the engine takes it"]


def _batch(deployment: Deployment, layout: Layout, arguments: Arguments) -> tuple[int, str]:
    """(sequences in flight, why so many)."""
    ranks = layout.dp * layout.copies
    work, engine = deployment.workload, engine_of(deployment)
    cost = price_layout(
        deployment.model_copy(update={"workload": work.model_copy(update={"batch": ranks})}), layout
    )
    held = max(0, most_sequences(cost.memories, work.input_tokens + work.output_tokens))
    limit = engine.memory.limits_on(deployment.cluster.device).max_sequences
    given = arguments.stated("max_sequences")
    wanted, why = (
        (limit * ranks, f"the most that {given.flag} allows")
        if given
        else (min(DEFAULT_BATCH, limit * ranks), "as for a plan")
    )
    if held * ranks < wanted and held:
        wanted, why = held * ranks, "what the KV cache holds"
    return max(wanted, ranks), why if wanted >= ranks else "one for each attention rank"
