"""shardwright validate: a line for every row, errors by slice, and what is wrong said once."""

import csv
from pathlib import Path

import pytest

from shardwright.calibrate.measured.validation import COLUMNS, OK, Validation
from shardwright.cost.software import serving_text, shipped_serving
from tests.calibrate.measured.samples import FILE, ROWS
from tests.cli.run import shardwright

HEADER = "row_id,model,gpu,gpus,engine,isl,osl,concurrency_or_batch,tpot_ms_mean"


def mine(tmp_path: Path, *lines: str) -> str:
    file = tmp_path / "mine.csv"
    file.write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    return str(file)


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_every_row_of_a_file_is_written_and_printed(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.csv"
    outcome = shardwright("validate", str(FILE), "-o", str(out))
    assert outcome.status == 0
    assert f"wrote {out}" in outcome.err
    lines = read(out)
    assert [line["row_id"] for line in lines] == list(ROWS) and tuple(lines[0]) == COLUMNS
    assert [file.name for file in out.parent.iterdir()] == ["out.csv"]
    for words in (
        "Validation: 30 rows",
        "disagg, 1 row: 98d7ed043e40: Prefill and decode pools follow later.",
        "little, 2 rows: Throughput, latency and requests in flight break Little's law.",
        "sound configurations",
        "Errors by GPU",
        "first wave",
    ):
        assert words in outcome.out
    again = tmp_path / "again.csv"
    shardwright("validate", str(FILE), "-o", str(again))
    assert again.read_bytes() == out.read_bytes()


def test_json_is_the_whole_result(tmp_path: Path) -> None:
    outcome = shardwright("validate", str(FILE), "--json")
    found = Validation.model_validate_json(outcome.out)
    assert (outcome.status, outcome.err, found.schema_version) == (0, "", 1)
    assert len(found.rows) == len(ROWS) and found.scores and found.ttft and found.coverage
    assert found.profile == f"{shipped_serving().source} ({shipped_serving().date})"


def test_blank_cells_and_refused_rows_end_with_0(tmp_path: Path) -> None:
    file = mine(tmp_path, "a,Qwen/Qwen3-32B,H100,2,vllm,100,20,4,", "b,nobody/nothing,H100,2,vllm,100,20,4,")
    out = tmp_path / "out.csv"
    outcome = shardwright("validate", file, "-o", str(out))
    assert outcome.status == 0
    assert "Nothing was measured of the rows that can be predicted." in outcome.out
    first, second = read(out)
    assert first["status"] == OK and float(first["tpot_ms_low"]) < float(first["tpot_ms_high"])
    assert "nobody/nothing" in second["status"] and not second["tpot_ms"]


def test_a_profile_of_ones_own_is_what_it_predicts_by(tmp_path: Path) -> None:
    """Hosts that take a second a step: TPOT is that and what the devices take."""
    slow = [row.model_copy(update={"step_us": 1e6}) for row in shipped_serving().software]
    profile = tmp_path / "slow.json"
    named = {"software": tuple(slow), "source": "mine"}
    profile.write_text(serving_text(shipped_serving().model_copy(update=named)), encoding="utf-8")
    file = mine(tmp_path, "a,Qwen/Qwen3-32B,H100,2,vllm,100,20,4,1100")
    usual, own = (
        Validation.model_validate_json(shardwright("validate", file, "--json", *options).out)
        for options in ((), ("--serving", str(profile)))
    )
    assert own.profile.startswith("mine (")
    tpot = own.rows[0].tpot_s
    assert usual.rows[0].tpot_s is not None and usual.rows[0].tpot_s.value < 0.1
    assert tpot is not None and 1.0 < tpot.value < 1.1
    (score,) = [each for each in own.scores if (each.name, each.unit) == ("sound", "row")]
    assert score.bias == pytest.approx(tpot.value / 1.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "file: 'none.csv' is not allowed; expected a file that can be read"),
        ([str(FILE), "--serving", "none.json"], "serving: 'none.json' is not allowed"),
        ([str(FILE), "--serving", str(FILE)], "expected a JSON file"),
        ([], "Missing argument 'MEASURED'"),
    ],
)
def test_bad_input_is_one_message(arguments: list[str], message: str) -> None:
    outcome = shardwright("validate", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert message in outcome.err and "Traceback" not in outcome.err


def test_a_wrong_cell_is_named_with_its_line_and_nothing_is_written(tmp_path: Path) -> None:
    file = mine(
        tmp_path, "a,Qwen/Qwen3-32B,H100,2,vllm,100,20,4,", "b,Qwen/Qwen3-32B,H100,two,vllm,100,20,4,"
    )
    outcome = shardwright("validate", file, "-o", str(tmp_path / "out.csv"))
    assert outcome.status == 2 and f"{file}:3: gpus: 'two' is not allowed" in outcome.err
    assert not (tmp_path / "out.csv").exists()


def test_a_file_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("kept")
    file = mine(tmp_path, "a,Qwen/Qwen3-32B,H100,2,vllm,100,20,4,")
    outcome = shardwright("validate", file, "-o", str(tmp_path / "taken" / "out.csv"))
    assert (outcome.status, outcome.out) == (2, "")
    assert "output" in outcome.err and (tmp_path / "taken").read_text() == "kept"
