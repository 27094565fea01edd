"""One measured configuration of a serving engine, as a line of a CSV file states it."""

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from shardwright.errors import InputError
from shardwright.record import Count, CountOrZero, Record, Stated, validated

Mode = Literal["agg", "disagg", "offline_static_batch", "offline_max_throughput"]

MS = 1e-3


class Row(Record):
    """A line; None where its cell is blank or its column is missing. Columns keep their names and units.

    tp, ep, pp, dp: as the source counts them. isl, osl: nominal lengths in tokens. concurrency_or_batch:
    requests in flight, or the size of the one batch. request_rate: requests a second; at_once: all requests
    were sent without waiting, which the column says by 'inf'. spec_decode: 'none', a method, or 'unknown'.
    """

    row_id: str = Field(min_length=1, max_length=200)
    source: str = ""
    model: str = Field(min_length=1, max_length=200)
    arch_family: str = ""
    gpu: str = Field(min_length=1, max_length=80)
    gpus: Count
    nodes: Count | None = None
    tp: Count | None = None
    ep: CountOrZero | None = None
    pp: Count | None = None
    dp: CountOrZero | None = None
    dp_attention: bool | None = None
    engine: str = Field(min_length=1, max_length=80)
    engine_version: str = ""
    date: str = ""
    precision_weights: str = ""
    precision_kv: str = ""
    isl: Count
    osl: Count
    concurrency_or_batch: Count | None = None
    request_rate: Stated | None = None
    at_once: bool = False
    ttft_ms_mean: Stated | None = None
    ttft_ms_median: Stated | None = None
    tpot_ms_mean: Stated | None = None
    tpot_ms_median: Stated | None = None
    e2e_ms: Stated | None = None
    output_tok_s_total: Stated | None = None
    output_tok_s_per_gpu: Stated | None = None
    mode: Mode = "agg"
    spec_decode: str = "none"
    quality: str = ""
    notes: str = ""

    @property
    def ttft_s(self) -> float | None:
        """Time to first token. The median first: single stalls of a minute spoil means (InferenceX)."""
        return _seconds(self.ttft_ms_median or self.ttft_ms_mean)

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first."""
        return _seconds(self.tpot_ms_median or self.tpot_ms_mean)

    @property
    def output_tokens_per_s(self) -> float | None:
        """Of all GPUs together."""
        if self.output_tok_s_total is None and self.output_tok_s_per_gpu is not None:
            return self.output_tok_s_per_gpu * self.gpus
        return self.output_tok_s_total

    def noted(self, name: str) -> str | None:
        """What the notes say by 'name=value', '8.0' of 'moe_tp' in 'gemm=fp8; moe_tp=8.0'; else None."""
        found = re.search(rf"(?:^|[;,]\s*){re.escape(name)}=([^;,]*)", self.notes)
        return found[1].strip() if found else None


NEEDED = ("model", "gpu", "gpus", "engine", "isl", "osl")
"""The columns that a file must have, beside one of LOADS."""

LOADS = ("concurrency_or_batch", "request_rate")

WHOLE = ("gpus", "nodes", "tp", "ep", "pp", "dp", "isl", "osl", "concurrency_or_batch")

NUMBERS = (
    *("request_rate", "ttft_ms_mean", "ttft_ms_median", "tpot_ms_mean", "tpot_ms_median", "e2e_ms"),
    *("output_tok_s_total", "output_tok_s_per_gpu"),
)

TRUTH = {"true": True, "1": True, "false": False, "0": False}


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a .csv or .csv.gz file, in order; columns that Row has not are left out.

    A row without a row_id has the number of its line. Raises InputError, with file and line, for a file that
    is no CSV, a missing column, and a cell that is not what its column holds.
    """
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        columns = reader.fieldnames or ()
        _check_columns(columns, path)
        rows = tuple(_row(cells, f"{path}:{reader.line_num}", reader.line_num) for cells in reader)
    except csv.Error as error:
        raise InputError(
            "row", str(error), "comma-separated values", where=f"{path}:{reader.line_num}"
        ) from error
    if not rows:
        raise InputError("rows", 0, "at least one line below the header", where=str(path))
    return rows


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds * MS


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        return content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError("file", str(path), f"a file that can be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise InputError("file", str(path), "text in UTF-8") from error


def _check_columns(columns: object, path: Path) -> None:
    found = [str(column) for column in columns] if isinstance(columns, (list, tuple)) else []
    missing = [name for name in NEEDED if name not in found]
    if not any(name in found for name in LOADS):
        missing.append(" or ".join(LOADS))
    if missing:
        raise InputError("columns", ", ".join(found), f"these too: {', '.join(missing)}", where=str(path))


def _row(cells: dict[str, str | None], where: str, line: int) -> Row:
    if None in cells or None in cells.values():
        raise InputError("row", "a line of another length", "as many cells as the header has", where=where)
    stated = {name: cell.strip() for name, cell in cells.items() if cell and name in Row.model_fields}
    values: dict[str, object] = {name: cell for name, cell in stated.items() if cell}
    values.setdefault("row_id", str(line))
    if str(values.get("request_rate", "")).lower().startswith("inf"):
        del values["request_rate"]
        values["at_once"] = True
    values |= dict(_numbers(values, where))
    if (truth := values.get("dp_attention")) is not None:
        if str(truth).lower() not in TRUTH:
            raise InputError("dp_attention", truth, "true or false", where=where)
        values["dp_attention"] = TRUTH[str(truth).lower()]
    return validated(Row, values, where=where)


def _numbers(values: dict[str, object], where: str) -> Iterator[tuple[str, float]]:
    """The cells that hold numbers, as numbers; a whole number may be written '8.0'."""
    for name in (*WHOLE, *NUMBERS):
        if name not in values:
            continue
        allowed = "a whole number" if name in WHOLE else "a number"
        try:
            number = float(str(values[name]))
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or (name in WHOLE and not number.is_integer()):
            raise InputError(name, values[name], allowed, where=where)
        yield name, int(number) if name in WHOLE else number
