"""A run as a document: what the layout answered, what was measured, what each rank held and sent."""

from shardwright.plan.generation import Answer, Generation, RankTotal
from shardwright.report.document import Bullets, Document, Heading, Item, Paragraph, columns, table
from shardwright.report.trial import trial_words
from shardwright.report.words import counted
from shardwright.units import format_bytes, format_rate, format_seconds

TIMES_ARE_OF = {
    "in-process": "one process that plays all ranks in turn: no measure of as many devices",
    "processes": "a process a rank on this machine, which all share",
    "torchrun": "the process of rank 0",
}
"""Mode -> what the measured times are of."""

NOISE = "The weights are random, so the text is noise: what is shown is the layout at work."

NO_ENGINE = "Our runtime is there to prove layouts, not to serve: a serving engine is faster."


def generation_document(found: Generation) -> Document:
    """The whole report of one run."""
    return (
        Heading(f"Generated: {found.layout}", level=1),
        Paragraph(
            f"{counted(len(found.ranks), 'rank')}, {found.mode}, {found.dtype} on {found.device}; checkpoint "
            f"{found.checkpoint}; {_sampling(found)}; {trial_words(found.trial)}."
        ),
        *((Paragraph(NOISE),) if found.random_weights else ()),
        Bullets(tuple(_answer(answer) for answer in found.answers)),
        Heading("Measured"),
        *table(columns("", ("seconds or rate", "number")), _timing_rows(found)),
        Paragraph(f"Times are of {TIMES_ARE_OF[found.mode]}. {NO_ENGINE}"),
        Heading("Ranks"),
        *table(
            columns(
                ("rank", "number"),
                ("role", "name"),
                ("stage", "name"),
                ("weights", "number"),
                ("KV", "number"),
                ("read", "number"),
            ),
            [_rank_row(rank) for rank in found.ranks],
        ),
        *_collectives(found),
    )


def _sampling(found: Generation) -> str:
    """How tokens were chosen."""
    sampling = found.sampling
    if sampling.temperature == 0:
        return "greedy"
    said = [f"drawn at temperature {sampling.temperature:g}"]
    if sampling.top_k is not None:
        said.append(f"top-k {sampling.top_k}")
    if sampling.top_p is not None:
        said.append(f"top-p {sampling.top_p:g}")
    return ", ".join((*said, f"seed {sampling.seed}"))


def _answer(answer: Answer) -> Item:
    asked = answer.prompt if answer.prompt is not None else _ids(answer.prompt_tokens)
    text = answer.text if answer.text is not None else _ids(answer.tokens)
    return Item(asked, f"{text} [{counted(len(answer.tokens), 'token')}, {answer.finished_by}]")


def _ids(tokens: tuple[int, ...]) -> str:
    return ",".join(map(str, tokens))


def _timing_rows(found: Generation) -> list[tuple[str, ...]]:
    measured = found.measured
    rows = [("time to the first token of all", format_seconds(measured.ttft_s))]
    if measured.tpot_median_s is not None and measured.tpot_max_s is not None:
        median, longest = format_seconds(measured.tpot_median_s), format_seconds(measured.tpot_max_s)
        steps = counted(measured.num_decode_steps, "decode step")
        rows.append((f"time of a further token, median of {steps}", f"{median} (at most {longest})"))
    return [*rows, ("tokens of all answers", format_rate(measured.throughput_tokens_per_s))]


def _rank_row(rank: RankTotal) -> tuple[str, ...]:
    sizes = (format_bytes(size) for size in (rank.weight_bytes, rank.kv_bytes, rank.bytes_read))
    return (str(rank.rank), rank.role, ", ".join(map(str, rank.stages)), *sizes)


def _collectives(found: Generation) -> Document:
    rows = [(row.name, f"{row.count:,}", format_bytes(row.bytes)) for row in found.collectives]
    heads = columns(("collective", "name"), ("times", "number"), ("bytes", "number"))
    return (Heading("Collectives, all ranks"), *table(heads, rows)) if rows else ()
