"""What can go wrong and how much room there is: spares, memory, growth, the engine, the network."""

from collections.abc import Callable, Iterator

from shardwright.audit.reading import breaches_of_any_size
from shardwright.audit.record import Risk
from shardwright.audit.step import Step, number
from shardwright.audit.subject import Subject
from shardwright.cost.memory import RankMemory
from shardwright.cost.room import longest_sequence, most_sequences
from shardwright.engine.catalog import find_engine
from shardwright.plan.deployment import ANY_ENGINE
from shardwright.steps.operation import AllReduce, Exchange, Gather
from shardwright.units import GB, format_bytes, format_share

LITTLE_ROOM = 0.1
"""Share of the device below which a headroom is a risk: engine updates and CUDA graphs take as much."""


def risks(subject: Subject) -> Iterator[Risk]:
    """Every risk with its figures; none without a layout."""
    if subject.layout is None:
        return
    for judge in RISKS:
        yield judge(subject)


def spare(subject: Subject) -> Risk:
    """Whether a lost GPU or node can be replaced, and what stops until then."""
    layout, cluster = subject.the_layout, subject.deployment.cluster
    left, node = cluster.num_gpus - layout.num_gpus, cluster.gpus_per_node
    lost = subject.deployment.workload.batch / layout.copies
    replaced = (
        "Spares replace a lost node."
        if left >= node
        else "Spares replace a lost GPU, but not a lost node."
        if left
        else "Nothing replaces a lost GPU."
    )
    stops = (
        f"One lost GPU stops {'the only copy' if layout.copies == 1 else f'one of {layout.copies} copies'}, "
        f"{lost:.0f} of {subject.deployment.workload.batch} sequences: all {layout.gpus_per_copy} GPUs of a "
        "copy step together."
    )
    return Risk(
        id="spare",
        title="Spare GPUs",
        level="none" if left >= node else "low" if left or layout.copies > 1 else "high",
        sentence=f"{cluster.num_gpus} - {layout.num_gpus} = {left} GPUs are spare. {stops} {replaced}",
        numbers={"spare": left, "sequences_lost": lost},
    )


def headroom(subject: Subject) -> Risk:
    """Memory left under the load on the GPU that has least."""
    left = min(_left(row) for row in subject.price.memories)
    budget = subject.deployment.cluster.device.memory_bytes
    share = left / budget
    word = f"{format_bytes(left)} a GPU are left" if left >= 0 else f"{format_bytes(-left)} a GPU are missing"
    return Risk(
        id="memory",
        title="Memory headroom",
        level="high" if left < 0 else "low" if share < LITTLE_ROOM else "none",
        sentence=f"{word} under the load, {format_share(abs(share))} of {format_bytes(budget)}, within what "
        "the engine may use.",
        numbers={"left_gb": left / GB, "share": share},
    )


def growth(subject: Subject) -> Risk:
    """The largest batch and the longest request that still fit, each with the other as it is."""
    layout, workload = subject.the_layout, subject.deployment.workload
    rows = [row for row in subject.price.memories if row.keeps_kv]
    capacity = min(number(row.kv_tokens()) for row in rows)
    length = workload.input_tokens + workload.output_tokens
    batch = max(0, most_sequences(subject.price.memories, length)) * layout.dp * layout.copies
    positions = subject.deployment.model.max_positions
    longest = longest_sequence(subject.price.memories, positions, int(number(subject.price.sequences)))
    return Risk(
        id="growth",
        title="Room to grow",
        level="high" if batch < workload.batch else "none",
        sentence=f"The KV cache of a rank holds {capacity:,.0f} tokens: up to {batch:,} sequences of "
        f"{length:,} tokens in flight, or {workload.batch:,} of {longest:,} tokens.",
        numbers={"kv_tokens": capacity, "largest_batch": batch, "longest_tokens": longest},
    )


def engine(subject: Subject) -> Risk:
    """Whether the engine named can run the layout."""
    named = subject.deployment.engine
    judged = find_engine("shardwright" if named == ANY_ENGINE else named)
    found = breaches_of_any_size(judged, subject.the_layout, subject.deployment)
    sentence = f"{judged.title} {judged.version} keeps the layout: every rule holds."
    if found:
        sentence = (
            f"{judged.title} {judged.version} cannot run it: {found[0].sentence}; cure: {found[0].cure}."
        )
    return Risk(
        id="engine",
        title="Engine",
        level="high" if found else "none",
        sentence=sentence,
        numbers={"broken_rules": len(found)},
    )


def network(subject: Subject) -> Risk:
    """Groups that communicate in every layer and leave their node."""
    step = Step(subject)
    used = {
        operation.axis
        for operation in step.operations()
        if isinstance(operation, AllReduce | Gather | Exchange) and number(operation.num_ranks) > 1
    }
    touched = {axis: int(number(step.wires.nodes[axis])) for axis in sorted(used)}
    crossing = {axis: count for axis, count in touched.items() if count > 1}
    listed = ", ".join(f"{axis} over {count} nodes" for axis, count in crossing.items())
    sentence = f"Groups that communicate in every layer leave their node: {listed}."
    return Risk(
        id="network",
        title="Groups across nodes",
        level="low" if crossing else "none",
        sentence=sentence if crossing else "All groups that communicate in every layer stay inside a node.",
        numbers=dict(crossing),
    )


RISKS: tuple[Callable[[Subject], Risk], ...] = (spare, headroom, growth, engine, network)


def _left(row: RankMemory) -> float:
    return -number(row.over_budget)
