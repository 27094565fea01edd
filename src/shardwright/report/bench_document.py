"""A bench as a document: measured, and beside it what was predicted."""

import shlex
from collections.abc import Callable

from shardwright.launch.bench import Measured
from shardwright.launch.compare import Bench
from shardwright.report.check_document import check_document
from shardwright.report.document import Code, Document, Heading, Paragraph, columns, table
from shardwright.report.simulation_document import load_words
from shardwright.serving.outcome import Outcome
from shardwright.units import format_rate, format_seconds

Row = tuple[str, Callable[[Measured], float], Callable[[Outcome], float | None], Callable[[float], str]]


def _requests(per_second: float) -> str:
    return format_rate(per_second, "requests/s")


ROWS: tuple[Row, ...] = (
    ("TTFT, mean", lambda m: m.ttft_s.mean, lambda o: o.ttft_s.mean, format_seconds),
    ("TTFT, median", lambda m: m.ttft_s.median, lambda o: o.ttft_s.p50, format_seconds),
    ("TTFT, p99", lambda m: m.ttft_s.p99, lambda o: o.ttft_s.p99, format_seconds),
    ("TPOT, mean", lambda m: m.tpot_s.mean, lambda o: o.tpot_s.mean if o.tpot_s else None, format_seconds),
    ("TPOT, p99", lambda m: m.tpot_s.p99, lambda o: o.tpot_s.p99 if o.tpot_s else None, format_seconds),
    ("end to end, mean", lambda m: m.e2e_s.mean, lambda o: o.e2e_s.mean, format_seconds),
    ("output", lambda m: m.output_tokens_per_s, lambda o: o.output_tokens_per_s, format_rate),
    (
        "requests",
        lambda m: m.requests_per_s,
        lambda o: o.requests_per_s,
        lambda v: format_rate(v, "requests/s"),
    ),
)


def bench_document(bench: Bench) -> Document:
    """The figures, what they rest on, and where the row is kept."""
    return (
        *(check_document(bench.check) if bench.check is not None else ()),
        Heading(f"Measured: {bench.layout} on {bench.device}, {bench.engine}", level=1),
        Paragraph(f"{bench.name} at {bench.url}: {load_words(bench.load)}."),
        *_figures(bench),
        Paragraph(_basis(bench)),
        Heading("The client"),
        Code(shlex.join(bench.command)),
        Paragraph(f"Kept as row {bench.row_id} of {bench.rows}."),
    )


def _figures(bench: Bench) -> Document:
    found = bench.predicted
    if found is None:
        heads = columns("figure", ("measured", "number"))
        return table(heads, [(name, form(of(bench.measured))) for name, of, _, form in ROWS])
    heads = columns(
        "figure", ("measured", "number"), ("predicted", "number"), ("predicted / measured", "number")
    )
    rows = []
    for name, measured_of, predicted_of, form in ROWS:
        measured, predicted = measured_of(bench.measured), predicted_of(found.outcome)
        if predicted is None:
            rows.append((name, form(measured), "", ""))
        else:
            ratio = f"{predicted / measured:.2f}" if measured else ""
            rows.append((name, form(measured), form(predicted), ratio))
    return table(heads, rows)


def _basis(bench: Bench) -> str:
    if bench.predicted is None:
        return f"There is no prediction beside it: {bench.unpredicted}"
    return f"Predicted is a simulation of the same load: {bench.predicted.basis}."
