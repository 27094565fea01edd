"""Reading a file of measured rows: a person's own, with few columns, or one with forty."""

import gzip
from pathlib import Path

import pytest

from shardwright.calibrate.measured.row import LOADS, NEEDED, read_rows
from shardwright.errors import InputError
from tests.calibrate.measured.samples import FILE, ROWS

HEADER = "model,gpu,gpus,engine,isl,osl,concurrency_or_batch,tpot_ms_mean,dp_attention,request_rate,colour"
LINE = "Qwen/Qwen3-32B,H100,2,vllm,1000,100,8,11.5,,,green"


def written(tmp_path: Path, *lines: str, header: str = HEADER) -> Path:
    file = tmp_path / "mine.csv"
    file.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return file


def test_few_columns_are_enough(tmp_path: Path) -> None:
    (row,) = read_rows(written(tmp_path, LINE))
    stated = {"model": "Qwen/Qwen3-32B", "gpu": "H100", "gpus": 2, "engine": "vllm", "isl": 1000, "osl": 100}
    stated |= {"row_id": "2", "concurrency_or_batch": 8, "tpot_ms_mean": 11.5}
    assert row.model_dump(exclude_defaults=True) == stated
    assert (row.mode, row.spec_decode, row.tp, row.ttft_s, row.tpot_s) == ("agg", "none", None, None, 0.0115)


def test_the_published_rows_keep_their_figures() -> None:
    row = ROWS["f782b5c91dd2"]
    assert (row.tp, row.ep, row.dp, row.dp_attention, row.spec_decode) == (8, 8, None, True, "unknown")
    assert (row.noted("gemm"), row.noted("moe_tp"), row.noted("nothing")) == ("nvfp4", "8.0", None)
    assert ROWS["0f5a2aa05eba"].at_once and ROWS["0f5a2aa05eba"].request_rate is None
    assert ROWS["7f2aae3551c9"].request_rate == 2.0 and not ROWS["7f2aae3551c9"].at_once


def test_throughput_is_of_all_gpus_in_whichever_column(tmp_path: Path) -> None:
    header = "model,gpu,gpus,engine,isl,osl,concurrency_or_batch,output_tok_s_per_gpu,output_tok_s_total"
    per_gpu, total, neither = read_rows(
        written(tmp_path, "m,g,4,e,1,1,1,50,", "m,g,4,e,1,1,1,,70", "m,g,4,e,1,1,1,,", header=header)
    )
    assert [row.output_tokens_per_s for row in (per_gpu, total, neither)] == [200.0, 70.0, None]


def test_a_median_goes_before_a_mean(tmp_path: Path) -> None:
    header = "model,gpu,gpus,engine,isl,osl,concurrency_or_batch,ttft_ms_mean,ttft_ms_median"
    both, mean = read_rows(written(tmp_path, "m,g,4,e,1,1,1,70000,200", "m,g,4,e,1,1,1,300,", header=header))
    assert (both.ttft_s, mean.ttft_s) == (0.2, 0.3)


def test_a_packed_file_is_read_alike(tmp_path: Path) -> None:
    packed = tmp_path / "rows.csv.gz"
    packed.write_bytes(gzip.compress(FILE.read_bytes()))
    assert read_rows(packed) == tuple(ROWS.values())


@pytest.mark.parametrize("column", NEEDED)
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    header = ",".join(name for name in HEADER.split(",") if name != column)
    with pytest.raises(InputError, match=f"mine.csv: columns: .* expected these too: {column}$"):
        read_rows(written(tmp_path, header=header))


def test_one_of_the_loads_is_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"these too: {' or '.join(LOADS)}"):
        read_rows(written(tmp_path, header=",".join(NEEDED)))


@pytest.mark.parametrize(
    ("cell", "wrong", "message"),
    [
        (",2,", ",two,", "mine.csv:3: gpus: 'two' is not allowed; expected a whole number"),
        (",2,", ",2.5,", "mine.csv:3: gpus: '2.5' is not allowed; expected a whole number"),
        (",2,", ",0,", "mine.csv:3: gpus: 0 is not allowed; expected greater than or equal to 1"),
        (",2,", ",,", "mine.csv:3: gpus: None is not allowed; expected a value"),
        ("11.5", "fast", "mine.csv:3: tpot_ms_mean: 'fast' is not allowed; expected a number"),
        ("11.5", "nan", "mine.csv:3: tpot_ms_mean: 'nan' is not allowed; expected a number"),
        ("11.5", "-1", "mine.csv:3: tpot_ms_mean: -1.0 is not allowed"),
        ("11.5,,", "11.5,maybe,", "mine.csv:3: dp_attention: 'maybe' is not allowed; expected true or false"),
        (",green", "", "mine.csv:3: row: .* expected as many cells as the header has"),
        (",green", ",green,blue", "mine.csv:3: row: .* expected as many cells as the header has"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(tmp_path: Path, cell: str, wrong: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_rows(written(tmp_path, LINE, LINE.replace(cell, wrong, 1)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("mine.csv", b"", "columns"),
        ("mine.csv", HEADER.encode(), "at least one line"),
        ("mine.csv", HEADER.encode() + b'\n"open', "comma-separated values"),
        ("mine.csv", b"\xff\xfe", "text in UTF-8"),
        ("mine.csv.gz", b"no gzip", "a file that can be read"),
        ("mine.csv.gz", gzip.compress(FILE.read_bytes())[:-30], "a file that can be read"),
    ],
)
def test_a_file_that_is_none_is_said_to_be(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_rows(file)


def test_a_file_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_rows(tmp_path / "none.csv")
