"""How evenly experts, rows, layers, sequences and memory lie on the GPUs, and which modules these run."""

from collections.abc import Iterator, Sequence

from shardwright.audit.placing import gpus_of, several, stage_of
from shardwright.audit.record import Balance, Module
from shardwright.audit.step import number
from shardwright.audit.subject import Subject
from shardwright.cost.memory import RankMemory
from shardwright.engine.engine import Engine, engine_grid
from shardwright.layout.layout import Layout
from shardwright.layout.placement import linear_placement
from shardwright.layout.stages import layer_ranges
from shardwright.search.engine import engine_of
from shardwright.steps.load import decode_load
from shardwright.units import GB

EVEN = 1.05
"""Largest over mean up to which a spread is called balanced: less is below what a prediction resolves."""


def balance(subject: Subject) -> Iterator[Balance]:
    """Every quantity that the layout shares out; none without a layout."""
    if subject.layout is None:
        return
    model, layout, workload = subject.deployment.model, subject.layout, subject.deployment.workload
    counts = subject.pool.stage_layers
    if model.experts is not None:
        placement = linear_placement(model.experts.num_experts, layout.ep, layout.redundant)
        owned = [len(placement.slots_of(rank)) for rank in range(layout.ep)]
        yield _spread("experts", "Experts a GPU", owned, "experts", "EP rank")
        yield _hottest(subject)
    yield _spread("layers", "Layers a stage", counts, "layers", "stage")
    if model.experts is not None and model.dense_layers:
        with_experts = [
            sum(model.layer_shapes[layer].mlp == "moe" for layer in layers) for layers in layer_ranges(counts)
        ]
        yield _spread("expert_layers", "Expert layers a stage", with_experts, "expert layers", "stage")
    ranks = layout.dp * layout.copies
    split = [workload.batch // ranks + (rank < workload.batch % ranks) for rank in range(ranks)]
    yield _spread("sequences", "Sequences a DP rank", split, "sequences", "DP rank")
    yield _memory("memory", "Memory a GPU", subject.price.memories, layout)
    mapped = subject.map_layout
    if mapped is not None and mapped != layout.model_copy(update={"copies": 1}):
        yield _memory("map_memory", "Memory a GPU by the document's map", subject.map_price.memories, mapped)


def modules(subject: Subject) -> tuple[Module, ...]:
    """The parts of one copy and the ranks that run them, in the engine's order; none without a layout."""
    if subject.layout is None:
        return ()
    engine = engine_of(subject.priced_on)
    layout = subject.layout.model_copy(update={"copies": 1})
    folded = layout.home == "folded"
    grid = engine_grid(engine, layout)
    found = []
    for stage, layers in enumerate(layer_ranges(subject.pool.stage_layers)):
        ranks = sorted(grid.attention_ranks[0, stage].ravel().tolist())
        title = f"Stage {stage}, layers {layers[0]}-{layers[-1]}"
        title += _with_experts(subject, engine) if folded else ", attention"
        found.append(Module(title=f"{title}, on {gpus_of(ranks)}", modules=len(ranks), ranks=tuple(ranks)))
    if folded:
        return tuple(found)
    for stage, experts in enumerate(grid.expert_ranks[0]):
        whose = "all stages" if layout.home == "shared" else f"stage {stage}"
        for group in range(layout.ep):
            ranks = sorted(experts[:, group].ravel().tolist())
            title = f"Expert group {group} of {whose}, on {gpus_of(ranks)}"
            found.append(Module(title=title, modules=len(ranks), ranks=tuple(ranks)))
    return tuple(found)


def _with_experts(subject: Subject, engine: Engine) -> str:
    layout = subject.the_layout
    if subject.deployment.model.experts is None:
        return f", TP{layout.tp}"
    return f", TP{layout.tp} x DP{layout.dp} with experts EP{layout.ep} folded on them"


def _spread(id: str, title: str, parts: Sequence[int], unit: str, over: str) -> Balance:
    """Whole numbers of one thing on each of the units `over`."""
    largest, mean = max(parts), sum(parts) / len(parts)
    ratio = largest / mean if mean else 1.0
    even = "the same on all" if largest == min(parts) else f"from {min(parts)} to {largest}"
    return Balance(
        id=id,
        title=title,
        largest=largest,
        mean=mean,
        ratio=ratio,
        unit=unit,
        balanced=ratio <= EVEN,
        sentence=f"{sum(parts)} {unit} / {several(len(parts), over)} = {mean:.4g}, {even}.",
    )


def _hottest(subject: Subject) -> Balance:
    """Rows on the busiest expert rank in one decode micro-batch, by the routing profile."""
    layout, experts = subject.the_layout, subject.deployment.model.experts
    assert experts is not None
    load = decode_load(
        subject.priced_on.model, layout, subject.priced_on.workload, subject.pool.schedule.micro_batches
    )
    tokens = number(load.tokens) * layout.dp / layout.edp
    largest, mean = number(load.expert_rows), tokens * experts.top_k / layout.ep
    ratio = largest / mean
    routing = subject.deployment.workload.routing.kind
    return Balance(
        id="hottest_rank",
        title="Rows on the busiest expert rank",
        largest=largest,
        mean=mean,
        ratio=ratio,
        unit="rows",
        balanced=ratio <= EVEN,
        sentence=f"{tokens:.0f} tokens x top-{experts.top_k} / {several(layout.ep, 'EP rank')} = {mean:.4g} "
        f"rows in the mean; with {routing} routing the busiest expects {largest:.4g}, {ratio:.2f} x that.",
    )


def _memory(id: str, title: str, rows: Sequence[RankMemory], layout: Layout) -> Balance:
    """Over all GPUs of a copy."""
    used = {f"{row.role}, {stage_of(row)}": number(row.used) / GB for row in rows}
    counts = [_num_gpus(row, rows, layout) for row in rows]
    total = sum(number(row.used) / GB * count for row, count in zip(rows, counts, strict=True))
    largest, mean = max(used.values()), total / sum(counts)
    ratio = largest / mean
    listed = "; ".join(f"{name}: {size:.1f} GB" for name, size in used.items())
    return Balance(
        id=id,
        title=title,
        largest=largest,
        mean=mean,
        ratio=ratio,
        unit="GB",
        balanced=ratio <= EVEN,
        sentence=f"{listed}. The fullest holds {ratio:.2f} x the mean of {mean:.1f} GB.",
    )


def _num_gpus(row: RankMemory, rows: Sequence[RankMemory], layout: Layout) -> float:
    """GPUs of a copy that a row stands for; middle stages of several kinds are taken as equally many."""
    alike = sum(other.stage == "middle" and other.role == row.role for other in rows)
    stages = (layout.pp - 2) / alike if row.stage == "middle" else 1.0
    return stages * (layout.expert_ranks if row.role == "experts" else layout.attention_ranks)
