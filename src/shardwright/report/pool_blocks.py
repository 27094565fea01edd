"""The blocks of one priced layout, which a plan and an audit share: figures, targets, time, memory."""

from shardwright.dag.schedule import in_words
from shardwright.engine.engine import Breach
from shardwright.layout.notation import parse_layout
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Alternative, MemoryRow, Pool, TargetCheck
from shardwright.report.document import (
    Bullets,
    ColumnKind,
    Document,
    Heading,
    Item,
    Paragraph,
    columns,
    table,
)
from shardwright.report.words import (
    FAMILIES,
    MET,
    MISSED,
    QUANTITIES,
    UNCERTAIN,
    UNCERTAIN_MEANS,
    Form,
    counted,
    outcome,
    signed_seconds,
    with_interval,
)
from shardwright.search.choices import Choice
from shardwright.units import (
    Estimate,
    format_bytes,
    format_probability,
    format_rate,
    format_seconds,
    format_share,
)

PARTS = {
    "dense_weights": "weights: attention, dense",
    "expert_weights": "weights: experts",
    "embedding": "weights: embedding",
    "head": "weights: head",
    "kv": "KV cache of the load",
    "activations": "activations",
    "sampler": "sampler",
    "buffers": "communication buffers",
    "runtime": "runtime",
    "used": "used",
    "left_for_kv": "left for KV",
}
"""Field of MemoryRow -> row of the memory table."""

BY_TIMELINE = (
    "Steps of steady decode, predicted by the timeline; smaller micro-batches read the weights more often, "
    "which overlap must win back."
)

MOST_ROWS = 12
"""Rows of a table of alternatives; plan.json holds them all."""


def figures_table(pool: Pool) -> Document:
    """Every predicted figure with its interval and what binds it, and what the intervals rest on."""
    figures = pool.figures
    rows: list[tuple[str, Estimate, Form]] = [
        ("TPOT", figures.tpot_s, format_seconds),
        ("step without prefills", figures.step_s, format_seconds),
        ("TTFT", figures.ttft_s, format_seconds),
        ("throughput", figures.throughput_tokens_per_s, format_rate),
        ("throughput a GPU", figures.throughput_per_gpu, format_rate),
        ("communication, exposed", figures.communication_fraction, format_share),
        ("memory, fullest GPU", figures.memory_bytes, format_bytes),
    ]
    cells = [(title, with_interval(estimate, form), _binds(estimate)) for title, estimate, form in rows]
    bases: dict[str, list[str]] = {}
    for title, estimate, _ in rows:
        bases.setdefault(estimate.basis, []).append(title)
    rests = "; ".join(f"{', '.join(titles)}: {basis}" for basis, titles in bases.items() if basis)
    note = (Paragraph(f"What the intervals rest on: {rests}.", only="markdown"),) if rests else ()
    return (*table(columns("figure", ("predicted", "number"), "bound by"), cells), *note)


def obstacles_blocks(obstacles: tuple[Breach, ...]) -> Document:
    """What keeps a layout from running: each with its excess, cure and source."""
    items = tuple(
        Item(
            breach.rule,
            f"{breach.sentence}. Broken by {breach.excess:,.3g} ({breach.unit}). Cure: {breach.cure}. "
            f"Source: {breach.source}.",
        )
        for breach in obstacles
    )
    return (Heading("Why it cannot run"), Bullets(items)) if items else ()


def targets_table(checks: tuple[TargetCheck, ...], pool: Pool) -> Document:
    """Each target beside its prediction; a legend where a target is met but not surely."""
    rows = []
    for check in checks:
        quantity = QUANTITIES[check.name]
        predicted = with_interval(quantity.figure(pool.figures), quantity.form)
        likely = format_probability(check.probability)
        rows.append((quantity.title, quantity.target(check.target), predicted, outcome(check), likely))
    heads = columns("target", "asked", "predicted", ("outcome", "status"), ("likely", "number"))
    doubt = any(outcome(check) == UNCERTAIN for check in checks)
    return (*table(heads, rows), *((Paragraph(UNCERTAIN_MEANS),) if doubt else ()))


def time_blocks(deployment: Deployment, pool: Pool) -> Document:
    """Where a decode step goes, and how TPOT and throughput follow from it."""
    whole = sum(pool.seconds_by_family.values())
    parts = sorted(pool.seconds_by_family.items(), key=lambda part: -part[1])
    rows = [
        (FAMILIES.get(name, name), format_seconds(seconds), format_share(seconds / whole))
        for name, seconds in parts
        if seconds > 0
    ]
    work, figures = deployment.workload, pool.figures
    each = -(-pool.sequences_per_rank // pool.schedule.micro_batches)
    question = (
        f"One micro-batch of {counted(each, 'sequence')} an attention rank passes all stages in a predicted "
        f"{format_seconds(whole)}; {counted(pool.schedule.micro_batches, 'micro-batch')} in flight."
    )
    tpot_s, ttft_s = figures.tpot_s.value, figures.ttft_s.value
    rate = figures.throughput_tokens_per_s.value
    answer_s, steps = ttft_s + (work.output_tokens - 1) * tpot_s, f"{work.output_tokens - 1:,}"
    answer = (
        f"TPOT = step + prompts of other requests = {format_seconds(figures.step_s.value)} + "
        f"{format_seconds(tpot_s - figures.step_s.value)} = {format_seconds(tpot_s)}. A request takes TTFT + "
        f"(output tokens - 1) x TPOT = {format_seconds(ttft_s)} + {steps} x {format_seconds(tpot_s)} = "
        f"{format_seconds(answer_s)}; throughput = batch x output tokens / that = {work.batch:,} x "
        f"{work.output_tokens:,} / {format_seconds(answer_s)} = "
        f"{format_rate(work.batch * work.output_tokens / answer_s)}, less while the last requests end: "
        f"{format_rate(rate)}."
    )
    heads = columns("family of operations", ("seconds", "number"), ("share", "number"))
    return (Paragraph(question), *table(heads, rows), *_tried(pool), Paragraph(answer))


def _tried(pool: Pool) -> Document:
    """The schedules that were held against each other, where there was a choice."""
    others = [step for step in pool.tried if step.schedule != pool.schedule]
    if not others:
        return ()
    said = "; ".join(f"{in_words(step.schedule)}: {format_seconds(step.step_s)}" for step in others)
    hidden = pool.figures.communication_busy.value - pool.figures.communication_fraction.value
    return (
        Paragraph(
            f"Schedule: {in_words(pool.schedule)}, a step of {format_seconds(pool.figures.step_s.value)}, "
            f"{format_share(hidden)} of it communication behind computing. Tried on the timeline as well: "
            f"{said}."
        ),
    )


def choices_table(choices: tuple[Choice, ...], engine: str) -> Document:
    """Each choice of the schedule beside the other one, and what the one taken saves of a step."""
    if not choices:
        return ()
    rows = [
        (
            choice.title,
            choice.taken,
            choice.instead if choice.offered else f"{choice.instead} (not offered by {engine})",
            format_seconds(choice.step_s),
            format_seconds(choice.instead_s),
            signed_seconds(choice.gain_s),
        )
        for choice in choices
    ]
    heads = columns(
        "choice",
        "as compared",
        "instead",
        ("step", "number"),
        ("instead", "number"),
        ("saves", "number"),
    )
    return (Heading("Choices of the schedule"), *table(heads, rows), Paragraph(BY_TIMELINE))


def memory_blocks(deployment: Deployment, pool: Pool) -> Document:
    """Bytes by part, a column for each role and kind of stage, and what the KV cache holds."""
    length = deployment.workload.max_model_len
    rows = [
        (title, *(format_bytes(getattr(row, part)) for row in pool.memory))
        for part, title in PARTS.items()
        if part in ("used", "left_for_kv") or any(getattr(row, part) for row in pool.memory)
    ]
    rows.append(("  as tokens", *(_or_none(row, f"{row.kv_capacity_tokens:,}") for row in pool.memory)))
    fits = [_or_none(row, f"{row.kv_capacity_tokens / length:,.1f}") for row in pool.memory]
    rows.append((f"  as sequences of {length:,}", *fits))
    ranks: list[tuple[str, ColumnKind]] = [
        (f"rank {row.rank}: {row.role}, {row.stage}", "number") for row in pool.memory
    ]
    heads = columns("part of a GPU", *ranks)
    room = (
        f"Each attention rank has room for {pool.kv_sequences:,.1f} sequences of {length:,} tokens "
        f"and serves {counted(pool.sequences_per_rank, 'sequence')} of this load."
    )
    return (*table(heads, rows), Paragraph(room))


def alternatives_table(rows: tuple[Alternative, ...]) -> Document:
    """Other layouts, one a row; the first MOST_ROWS of them."""
    heads = columns(
        ("layout", "name"),
        ("GPUs", "number"),
        ("TPOT", "number"),
        ("TTFT", "number"),
        ("tokens/s", "number"),
        ("comm.", "number"),
        ("memory", "number"),
        ("targets", "status"),
        ("engines", "number"),
    )
    cells = [
        (
            row.layout,
            f"{row.num_gpus:,}",
            format_seconds(row.tpot_s),
            format_seconds(row.ttft_s),
            f"{row.throughput_tokens_per_s:,.0f}",
            format_share(row.communication_fraction),
            format_bytes(row.memory_bytes),
            MET if row.meets_targets else MISSED,
            f"{len(row.engines)}",
        )
        for row in rows[:MOST_ROWS]
    ]
    left = len(rows) - MOST_ROWS
    more = (Paragraph(f"{left} more in plan.json."),) if left > 0 else ()
    return (*table(heads, cells), *more)


def stages_sentence(pool: Pool) -> str:
    """Stages, their layers and what is in flight."""
    layers = ", ".join(map(str, pool.stage_layers))
    copies = parse_layout(pool.layout).copies
    return (
        f"{counted(copies, 'copy')}, {counted(len(pool.stage_layers), 'stage')} of {layers} layers, "
        f"{counted(pool.sequences_per_rank, 'sequence')} an attention rank, "
        f"{counted(pool.schedule.micro_batches, 'micro-batch')} in flight"
    )


def _binds(estimate: Estimate) -> str:
    return FAMILIES.get(estimate.binds, estimate.binds)


def _or_none(row: MemoryRow, text: str) -> str:
    return text if row.kv_bytes_per_token > 0 else "none kept"
