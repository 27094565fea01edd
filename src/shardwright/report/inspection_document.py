"""A running server as a document: what it says of itself, what it measured, how it stands to a plan."""

from shardwright.launch.inspect.inspection import Distribution, Inspection, PlanAudit, Quantile, Said
from shardwright.report.document import Bullets, Document, Heading, Item, Paragraph, columns, table
from shardwright.units import format_bytes, format_rate, format_seconds, format_share

DIFFERS = "differs"


def inspection_document(found: Inspection) -> Document:
    """The whole report of one inspection."""
    said = found.said
    version = said.version or "of a version that it does not say"
    return (
        Heading(f"{found.title} {version} at {found.url}", level=1),
        *_standing(found.audit),
        Bullets(_says(said)),
        Heading("Now"),
        *_now(found),
        Heading("Measured by the server"),
        *_measured(found),
        *_against(found.audit),
        *_notes(found.unread),
    )


def _standing(audit: PlanAudit | None) -> Document:
    if audit is None:
        return ()
    differing = [row.what for row in audit.rows if row.verdict == DIFFERS]
    text = f"differs from the plan in {', '.join(differing)}" if differing else "as planned, where it says so"
    return (Paragraph(f"{audit.name}: {text}.", status="missed" if differing else "met"),)


def _says(said: Said) -> tuple[Item, ...]:
    layout, cache = said.layout, said.cache
    degrees = {
        "TP": layout.tp,
        "DP": layout.dp,
        "PP": layout.pp,
        "EP": layout.ep,
        "GPUs a stage": layout.stage_gpus,
        "copies": layout.copies,
    }
    limits = {
        "longest sequence": said.max_model_len,
        "sequences in a step": said.max_sequences,
        "tokens in a step": said.max_batched_tokens,
    }
    kept = {
        "blocks a rank": cache.blocks,
        "tokens of a block": cache.block_tokens,
        "tokens a rank": cache.tokens,
    }
    stored = [text for text in (said.dtype, said.quantisation) if text is not None]
    memory = [f"{format_share(said.memory_share)} of a GPU for the engine"] if said.memory_share else []
    if said.weight_bytes is not None:
        memory.append(f"{format_bytes(said.weight_bytes)} of weights on a GPU")
    rows = (
        ("Model", " = ".join(said.models)),
        ("Layout", _listed(degrees)),
        ("Weights", ", ".join(stored)),
        ("KV cache", ", ".join(filter(None, (_listed(kept), cache.dtype)))),
        ("Limits", _listed(limits)),
        ("Memory", ", ".join(memory)),
    )
    return tuple(Item(label, text or "not said") for label, text in rows)


def _listed(values: dict[str, int | None]) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in values.items() if value is not None)


def _now(found: Inspection) -> Document:
    rows = [
        (
            str(rank.rank),
            _number(rank.running),
            _number(rank.waiting),
            "-" if rank.kv_usage is None else format_share(rank.kv_usage),
        )
        for rank in found.ranks
    ]
    heads = columns(
        ("attention rank", "number"), ("running", "number"), ("waiting", "number"), ("KV used", "number")
    )
    return table(heads, rows) or (Paragraph("The server says nothing of its requests."),)


def _measured(found: Inspection) -> Document:
    seen = found.observed
    since = "since it started" if seen.over_s is None else f"over {format_seconds(seen.over_s)}"
    rows = [
        _distribution(name, row)
        for name, row in (("TTFT", seen.ttft), ("TPOT", seen.tpot), ("ITL", seen.itl))
        if row is not None
    ]
    heads = columns(
        "",
        ("count", "number"),
        ("mean", "number"),
        *((name, "number") for name in ("p50", "p90", "p99")),
    )
    counts = {
        "prompt tokens": seen.prompt_tokens,
        "output tokens": seen.output_tokens,
        "preemptions": seen.preemptions,
    }
    said = [_listed(counts)] if any(value is not None for value in counts.values()) else []
    if seen.output_tokens_per_s is not None:
        said.append(f"{format_rate(seen.output_tokens_per_s)} of output")
    if seen.prefix_hits is not None:
        said.append(f"{format_share(seen.prefix_hits)} of prompt tokens found in the prefix cache")
    if not rows and not said:
        return (Paragraph("Nothing."),)
    near = "Quantiles are interpolated inside the buckets of its histograms; means are exact."
    return (
        Paragraph(f"Measurements, {since}, under whatever load there was.{f' {near}' if rows else ''}"),
        *table(heads, rows),
        *((Bullets(tuple(said)),) if said else ()),
    )


def _distribution(name: str, row: Distribution) -> tuple[str, ...]:
    mean = "-" if row.mean_s is None else format_seconds(row.mean_s)
    return (name, f"{row.count:,}", mean, *map(_quantile, (row.p50, row.p90, row.p99)))


def _quantile(level: Quantile) -> str:
    return f"> {format_seconds(level.low_s)}" if level.value_s is None else format_seconds(level.value_s)


def _against(audit: PlanAudit | None) -> Document:
    if audit is None:
        return ()
    heads = columns("", "planned", "found", ("", "status"))
    rows = [(row.what, row.planned, row.found, row.verdict) for row in audit.rows]
    what = (
        "Predictions of the plan stand with their intervals; what the server measured is a measurement, and "
        "is held against them only while it works under a load like the plan's."
    )
    return (Heading(f"Against the plan: {audit.layout}"), Paragraph(what), *table(heads, rows))


def _notes(sentences: tuple[str, ...]) -> Document:
    if not sentences:
        return ()
    return (Heading("What to know of this reading"), Bullets(sentences))


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
