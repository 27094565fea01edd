"""One rank that ran alone, as a document: what was measured, and what is predicted beside it."""

from rich.console import Console

from shardwright.plan.alone import PhaseMeasurement, RankMeasurement, Spread
from shardwright.report.document import Bullets, Document, Heading, Paragraph, columns, table
from shardwright.report.terminal import print_document
from shardwright.report.words import counted, with_interval
from shardwright.units import format_bytes, format_seconds

WHAT_IT_SAYS = (
    "Measured is the computation of this rank alone: its peers' answers were made up, and no communication "
    "is in any figure. Weights and tokens are random; the shapes are the model's."
)

BUSIEST = (
    "The experts were given the rows, and the number of active experts, of the plan's busiest expert rank: a "
    "step waits for that one."
)


def print_rank(measured: RankMeasurement, console: Console) -> None:
    """The measurement, as wide as the console."""
    print_document(rank_document(measured), console)


def rank_document(measured: RankMeasurement) -> Document:
    """The whole report of one rank."""
    planned = measured.predicted_for
    return (
        Heading(f"Rank {measured.rank} of {measured.layout}, alone", level=1),
        Paragraph(
            f"{measured.model}: {measured.role}{_stages(measured)}, executed as {measured.executed_as} in "
            f"{measured.dtype} on {measured.device}."
        ),
        Paragraph(_comparison(measured), status="" if measured.same_device else "uneven"),
        Heading("Computation of one step of one micro-batch"),
        *table(
            columns(
                ("phase", "name"),
                ("sequences x tokens", "number"),
                ("context", "number"),
                ("rows of experts", "number"),
                ("measured", "number"),
                (f"predicted for {planned}", "number"),
            ),
            [_phase_row(phase) for phase in measured.phases],
        ),
        Heading("By the communication that it ends in"),
        *table(
            columns(("phase", "name"), ("up to", "name"), ("measured", "number"), ("predicted", "number")),
            [row for phase in measured.phases for row in _stretch_rows(phase)],
        ),
        Heading("Memory"),
        *table(
            columns("", ("measured", "number"), ("predicted", "number")),
            _memory_rows(measured),
        ),
        Bullets((WHAT_IT_SAYS, *_notes(measured))),
    )


def _stages(measured: RankMeasurement) -> str:
    noun = "stage" if len(measured.stages) == 1 else "stages"
    return f" of {noun} {', '.join(map(str, measured.stages))}"


def _comparison(measured: RankMeasurement) -> str:
    """What measured beside predicted means; nothing, where they are of different devices."""
    planned = measured.predicted_for
    if not measured.same_device:
        return (
            f"Measured on {measured.device}, predicted for {planned}: another device. Side by side they say "
            f"nothing of how good the prediction is."
        )
    ratios = [
        f"{phase.phase} {phase.measured.median_s / phase.predicted_s.value:.2f}"
        for phase in measured.phases
        if phase.predicted_s.value
    ]
    return f"Measured on the plan's GPU, {planned}. Measured over predicted: {', '.join(ratios)}."


def _phase_row(phase: PhaseMeasurement) -> tuple[str, ...]:
    return (
        phase.phase,
        f"{phase.sequences} x {phase.query_tokens:,}",
        f"{phase.context:,}",
        f"{phase.expert_rows:,}",
        _spread(phase.measured),
        with_interval(phase.predicted_s, format_seconds),
    )


def _stretch_rows(phase: PhaseMeasurement) -> list[tuple[str, ...]]:
    return [
        (phase.phase, part.until, _spread(part.measured), format_seconds(part.predicted_s))
        for part in phase.stretches
    ]


def _memory_rows(measured: RankMeasurement) -> list[tuple[str, ...]]:
    weights = format_bytes(measured.weight_bytes), format_bytes(measured.predicted_weight_bytes)
    rows: list[tuple[str, ...]] = [("weights", *weights)]
    for phase in measured.phases:
        kv = format_bytes(phase.kv_bytes), format_bytes(phase.predicted_kv_bytes)
        rows += [
            (f"KV of the {phase.phase} micro-batch", *kv),
            (f"peak of the {phase.phase} step", format_bytes(phase.peak_bytes), ""),
        ]
    return rows


def _notes(measured: RankMeasurement) -> list[str]:
    """What a reader must know of how it was measured."""
    found = [
        f"{counted(measured.repetitions, 'repetition')} after {counted(measured.warm_ups, 'warm-up')}: the "
        f"median, and in brackets the fastest and the slowest. Seed {measured.seed}, {measured.date}.",
        f"Kernels of transformers {measured.transformers_version} on torch {measured.torch_version}: "
        f"attention {measured.attention_kernel}, experts {measured.expert_kernel}. The prediction is for the "
        f"fused kernels of a serving engine.",
        f"Peak: {measured.peak_is}.",
    ]
    if any(phase.expert_rows for phase in measured.phases):
        found.append(BUSIEST)
    if measured.stated_in != measured.dtype:
        found.append(
            f"The plan has the weights in {measured.stated_in}. Our runtime executes them in "
            f"{measured.dtype}, and what is predicted here is for {measured.dtype} too: it is not the plan's."
        )
    if any(phase.kv_bytes > phase.predicted_kv_bytes for phase in measured.phases):
        found.append(
            "Layers with a window: our runtime keeps the whole context in them, the memory model the window "
            "alone."
        )
    return found


def _spread(spread: Spread) -> str:
    low, high = format_seconds(spread.low_s), format_seconds(spread.high_s)
    return f"{format_seconds(spread.median_s)} ({low}-{high})"
