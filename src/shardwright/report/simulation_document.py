"""A simulated load as a document: what clients see, and where the time to the first token goes."""

from shardwright.report.document import Bullets, Document, Heading, Paragraph, columns, table
from shardwright.report.pool_blocks import obstacles_blocks
from shardwright.report.words import counted
from shardwright.serving.outcome import Outcome, Spread
from shardwright.serving.requests import Lengths
from shardwright.serving.simulation import Load, Simulation
from shardwright.units import format_rate, format_seconds


def simulation_document(found: Simulation) -> Document:
    """The whole report of one simulated load."""
    outcome = found.outcome
    return (
        Heading(f"Simulated: {found.layout} on {counted(found.num_gpus, 'GPU')}, {found.engine}", level=1),
        Paragraph(f"{found.name}: {load_words(found.load)}."),
        Paragraph("A prediction. " + found.basis + "."),
        *obstacles_blocks(found.obstacles),
        Heading("What clients see"),
        *table(
            columns("", ("mean", "number"), ("p50", "number"), ("p90", "number"), ("p99", "number")),
            _spreads(outcome),
        ),
        *table(columns("", ("rate", "number")), _rates(outcome)),
        Heading("Time to the first token"),
        *table(columns("where it goes", ("mean", "number")), _parts(outcome)),
        Heading("The server"),
        Bullets(
            (
                f"Each attention rank: {counted(found.most_sequences, 'sequence')} and "
                f"{found.most_tokens:,} tokens a step at most, {found.kv_tokens:,} tokens in its KV cache.",
                f"{counted(outcome.steps, 'step')}; {_restarted(outcome)}.",
                f"Host: {found.software}.",
            )
        ),
        *_targets(found),
    )


def load_words(load: Load) -> str:
    """What was asked of the server."""
    lengths = f"{_lengths(load.input_tokens)} in and {_lengths(load.output_tokens)} out"
    if load.kind == "open":
        arrivals = "Poisson" if load.burstiness == 1.0 else f"gamma arrivals of shape {load.burstiness:g}"
        rate = f"{load.rate_per_s:g} a second ({arrivals})"
        return f"{counted(load.num_requests, 'request')}, {rate}, {lengths}"
    if load.kind == "static":
        return f"one batch of {counted(load.num_requests, 'request')}, {lengths}"
    return f"{load.concurrency} in flight, {counted(load.num_requests, 'request')} in all, {lengths}"


def _lengths(lengths: Lengths) -> str:
    return f"{lengths.high}" if lengths.low == lengths.high else f"{lengths.low} to {lengths.high}"


def _spreads(outcome: Outcome) -> list[tuple[str, ...]]:
    rows: tuple[tuple[str, Spread | None], ...] = (
        ("TTFT", outcome.ttft_s),
        ("TPOT", outcome.tpot_s),
        ("ITL", outcome.itl_s),
        ("end to end", outcome.e2e_s),
    )
    return [
        (name, *(format_seconds(value) for value in (row.mean, row.p50, row.p90, row.p99)))
        for name, row in rows
        if row is not None
    ]


def _rates(outcome: Outcome) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("output", format_rate(outcome.output_tokens_per_s)),
        ("input and output", format_rate(outcome.total_tokens_per_s)),
        ("requests", format_rate(outcome.requests_per_s, "requests/s")),
    ]
    if outcome.goodput_per_s is not None:
        rows.append(("goodput", format_rate(outcome.goodput_per_s, "requests/s within the targets")))
    return rows


def _parts(outcome: Outcome) -> list[tuple[str, ...]]:
    parts = outcome.first_token
    rows = [
        ("API, until the scheduler sees the request", parts.api_s),
        ("queue, until it is taken up", parts.queue_s),
        ("prefill, until its first token", parts.prefill_s),
    ]
    if parts.first_wave_queue_s is not None and parts.later_queue_s is not None:
        rows.append(("queue of those sent at once at the start", parts.first_wave_queue_s))
        rows.append(("queue of all that came later", parts.later_queue_s))
    return [(name, format_seconds(seconds)) for name, seconds in rows]


def _restarted(outcome: Outcome) -> str:
    if not outcome.restarted:
        return "the KV cache had room for all that ran"
    return f"{counted(outcome.restarted, 'request')} put back for lack of KV, to be computed anew"


def _targets(found: Simulation) -> Document:
    asked = found.targets
    if asked.ttft_ms is None and asked.tpot_ms is None and asked.throughput_tokens_per_s is None:
        return ()
    word = "met" if found.met else "missed"
    if found.obstacles:
        return ()
    return (Paragraph(f"Targets of TTFT, TPOT and throughput, at the means: {word}.", status=word),)
