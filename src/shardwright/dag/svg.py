"""The timeline as a drawing: a lane for each engine of each worker, time from left to right."""

import re
from collections import defaultdict
from collections.abc import Iterator
from math import floor, log10
from xml.sax.saxutils import escape

from shardwright.dag.timeline import ENGINES, Slice, Timeline
from shardwright.dag.worker import Worker
from shardwright.steps.operation import Family
from shardwright.units import format_bytes, format_seconds

COLOURS: dict[Family, str] = {
    "gemm": "#4477aa",
    "attention": "#66ccee",
    "experts": "#228833",
    "small": "#888888",
    "all_reduce": "#ee6677",
    "gather": "#aa3377",
    "exchange": "#ccbb44",
    "transfer": "#222255",
}
"""Told apart by colour-blind readers too. Source: Paul Tol, 'Colour Schemes', 2021, bright;
the last one, and the grey, are darker."""

LEFT, WIDTH, RIGHT = 150, 1300, 30
TOP, LANE, BAND, GAP = 92, 22, 16, 14
LETTER = 6.2
"""Mean width of a letter at 11 px; all sizes are in pixels."""


def svg_text(timeline: Timeline, title: str) -> str:
    """The drawing as SVG; what a slice is shows when one points at it.

    Above the lanes of a worker stands which micro-batch it has begun and not ended.
    """
    scale = WIDTH / timeline.makespan_s
    by_worker: dict[int, list[Slice]] = defaultdict(list)
    for piece in timeline.slices:
        by_worker[piece.node.worker].append(piece)
    body: list[str] = []
    y = TOP
    for worker in timeline.graph.workers:
        drawn, height = _worker(worker, by_worker[worker.number], y, scale)
        body += drawn
        y += height + GAP
    width, height = LEFT + WIDTH + RIGHT, y + 30
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif" font-size="11">',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            _text(12, 24, title, 'font-size="15" font-weight="bold"'),
            *_legend({piece.node.operation.family for piece in timeline.slices}),
            *_axis(timeline.makespan_s, scale, y),
            *body,
            "</svg>\n",
        ]
    )


def _worker(worker: Worker, own: list[Slice], top: int, scale: float) -> tuple[list[str], int]:
    """A worker's name, bands of micro-batches and lanes, and how high they are."""
    ranks = f"{len(worker.ranks)} GPU{'s' * (len(worker.ranks) > 1)}"
    lines = [_text(12, top + 12, f"{worker.name}, {ranks}", 'font-weight="bold"')]
    top += 18
    bands = _bands(own)
    for row, band in enumerate(bands):
        lines += [_band(span, top + row * BAND, scale) for span in band]
    y = top + len(bands) * BAND + 2
    for engine in ENGINES:
        pieces = [piece for piece in own if piece.engine == engine and piece.end_s > piece.start_s]
        if not pieces:
            continue
        lines.append(_text(LEFT - 8, y + 14, engine, 'text-anchor="end" fill="#555555"'))
        lines.append(f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{LANE - 4}" fill="#f2f2f2"/>')
        lines += [_slice(piece, y, scale) for piece in pieces]
        y += LANE
    return lines, y - top + 18


_Span = tuple[float, float, str]
"""Start and end in seconds, and what it is."""


def _bands(own: list[Slice]) -> list[list[_Span]]:
    """The span of each chain, in as few rows as overlap allows."""
    chains: dict[int, list[Slice]] = defaultdict(list)
    for piece in own:
        chains[piece.node.chain].append(piece)
    several_steps = any(piece.node.step for piece in own)
    several_stages = len({piece.node.stage for piece in own}) > 1
    spans = []
    for pieces in chains.values():
        batches = sorted({p.node.micro_batch for p in pieces if p.node.micro_batch is not None})
        name = f"micro-batch {batches[0]}" if len(batches) == 1 else "all micro-batches"
        step = f"step {pieces[0].node.step}, " if several_steps else ""
        step += f"stage {pieces[0].node.stage}, " if several_stages else ""
        start_s, end_s = min(p.start_s for p in pieces), max(p.end_s for p in pieces)
        spans.append((start_s, end_s, step + name))
    rows: list[list[_Span]] = []
    for span in sorted(spans):
        row = next((row for row in rows if row[-1][1] <= span[0]), None)
        if row is None:
            rows.append([span])
        else:
            row.append(span)
    return rows


def _band(span: _Span, y: int, scale: float) -> str:
    x, width = LEFT + span[0] * scale, (span[1] - span[0]) * scale
    box = (
        f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{BAND - 3}" '
        f'fill="#ffffff" stroke="#888888" stroke-width="0.7"><title>{_plain(span[2])}</title></rect>'
    )
    shown = next((name for name in (span[2], span[2].split()[-1]) if len(name) * LETTER < width), "")
    return box + (_text(x + 3, y + 10, shown, 'font-size="10" fill="#333333"') if shown else "")


def _slice(piece: Slice, y: int, scale: float) -> str:
    operation = piece.node.operation
    layer = "" if operation.layer is None else f", layer {operation.layer}"
    batch = "" if piece.node.micro_batch is None else f", micro-batch {piece.node.micro_batch}"
    said = f"{operation.name}{layer}{batch}: {format_seconds(piece.end_s - piece.start_s)}"
    if hasattr(operation, "axis"):
        said += f", {format_bytes(float(operation.bytes))} over {operation.axis}"
    x, width = LEFT + piece.start_s * scale, (piece.end_s - piece.start_s) * scale
    return (
        f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{LANE - 4}" '
        f'fill="{COLOURS[operation.family]}"><title>{_plain(said)}</title></rect>'
    )


def _legend(shown: set[Family]) -> Iterator[str]:
    x = 12.0
    for family, colour in COLOURS.items():
        if family in shown:
            name = family.replace("_", "-")
            yield f'<rect x="{x:.0f}" y="38" width="12" height="12" fill="{colour}"/>'
            yield _text(x + 17, 48, name)
            x += 17 + len(name) * LETTER + 22


def _axis(makespan_s: float, scale: float, bottom: int) -> Iterator[str]:
    """Milliseconds at about ten round places, with lines down through the lanes."""
    rough = makespan_s * 1e3 / 10
    power = 10.0 ** floor(log10(rough))
    every_ms = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    places = int(makespan_s * 1e3 / every_ms * (1 + 1e-12)) + 1
    for place in range(places):
        x = LEFT + place * every_ms / 1e3 * scale
        yield f'<line x1="{x:.2f}" y1="{TOP - 12}" x2="{x:.2f}" y2="{bottom}" stroke="#dddddd"/>'
        yield _text(x, TOP - 17, f"{place * every_ms:.6g} ms", 'text-anchor="middle" fill="#555555"')
        yield _text(x, bottom + 15, f"{place * every_ms:.6g} ms", 'text-anchor="middle" fill="#555555"')


_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 (section 2.2) has no way to write."""


def _plain(text: str) -> str:
    return escape(_NO_XML.sub("\ufffd", text))


def _text(x: float, y: float, text: str, look: str = "") -> str:
    return f'<text x="{x:.2f}" y="{y:.0f}" {look}>{_plain(text)}</text>'
