"""Thirty measured rows of every source (rows.csv), by their id, and rows of one's own."""

from pathlib import Path

from shardwright.calibrate.measured.case import Case, case_of
from shardwright.calibrate.measured.refusal import Refusal
from shardwright.calibrate.measured.row import Row, read_rows

FILE = Path(__file__).parent / "rows.csv"

ROWS = {row.row_id: row for row in read_rows(FILE)}


def a_row(**changes: object) -> Row:
    """Qwen3-32B on two H100, vLLM, eight requests in flight, nothing else stated."""
    stated = {"row_id": "1", "model": "Qwen/Qwen3-32B", "gpu": "H100", "gpus": 2, "engine": "vllm"}
    load = {"isl": 1000, "osl": 100, "concurrency_or_batch": 8}
    return Row.model_validate({**stated, **load, **changes})


def a_case(row: Row | str, **changes: object) -> Case:
    """The case of a row, or of the measured row with that id and these cells instead of its own."""
    row = ROWS[row] if isinstance(row, str) else row
    case = case_of(row.model_copy(update=changes))
    assert isinstance(case, Case), case
    return case


def a_refusal(row: Row) -> Refusal:
    refusal = case_of(row)
    assert isinstance(refusal, Refusal), refusal
    return refusal
