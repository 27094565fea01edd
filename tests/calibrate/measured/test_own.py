"""Rows of one's own: a hidden server is found again from what its clients measured; what is none is named."""

import json
from functools import cache
from pathlib import Path

import pytest

from shardwright.calibrate.measured.bench import Bench, benches, run_bench
from shardwright.calibrate.measured.own import SHOWS, OwnCalibration, calibrate_rows
from shardwright.calibrate.measured.prediction import host_for
from shardwright.calibrate.measured.row import Row
from shardwright.cost.software import (
    Pace,
    ServingProfile,
    Software,
    pace_of,
    serving_file,
    serving_text,
    shipped_serving,
    software_for,
)
from shardwright.errors import InputError
from tests.calibrate.measured.samples import a_case, a_row
from tests.cli.run import shardwright

HOST = {
    "step_us": 1000.0,
    "sequence_us": 20.0,
    "layer_us": 5.0,
    "prefill_us": 3000.0,
    "least_prefill_layer_us": 200.0,
    "api_us": 10000.0,
    "api_token_us": 2.0,
}


def profile_with(pace: float = 1.0, **host: float) -> ServingProfile:
    """Of vLLM on H100, and of nobody else: its numbers are this test's own."""
    named = {"generation": "2026", "title": "by hand", "rows": 9}
    return ServingProfile(
        source="by hand",
        date="2026-11-28",
        software=tuple(Software(engine=name, **named, **{**HOST, **host}) for name in ("vllm", "any")),
        paces=tuple(
            Pace(device=name, generation="2026", decode=0.9 * pace, prefill=1.1 * pace, rows=9)
            for name in ("H100-SXM-80GB", "any")
        ),
    )


BELIEVED = profile_with()
HIDDEN = profile_with(pace=1.3, step_us=1500.0, sequence_us=30.0, api_us=15000.0)
"""A slow host and throttled devices."""

LOADS = ((300, 40, 1), (300, 40, 8), (300, 40, 64), (1500, 40, 4), (1500, 40, 32), (100, 80, 128))


def measured(rows: list[Row], profile: ServingProfile) -> list[Row]:
    """The rows with what the clients of that server measure."""
    found = []
    for row in rows:
        (bench,) = benches([a_case(row)])
        assert isinstance(bench, Bench)
        seen = run_bench(bench, host_for(bench.case, profile))
        assert seen.tpot_s is not None
        cells = {"ttft_ms_mean": seen.ttft_s * 1e3, "tpot_ms_mean": seen.tpot_s * 1e3}
        cells["output_tok_s_total"] = seen.output_tokens_per_s
        found.append(row.model_copy(update=cells))
    return found


def own_rows(profile: ServingProfile, *loads: tuple[int, int, int], **changes: object) -> list[Row]:
    rows = [
        a_row(row_id=f"{isl}-{osl}-{busy}", isl=isl, osl=osl, concurrency_or_batch=busy, **changes)
        for isl, osl, busy in loads or LOADS
    ]
    return measured(rows, profile)


@cache
def found() -> OwnCalibration:
    return calibrate_rows(own_rows(HIDDEN), BELIEVED)


def mean_error(found: OwnCalibration, name: str) -> float:
    errors = [getattr(row, name) for row in found.rows]
    return sum(errors) / len(errors)


def test_a_hidden_server_is_predicted_after_a_few_of_its_rows() -> None:
    """Not quite: what is believed without them counts as well."""
    before, after, left_out = (mean_error(found(), name) for name in ("before", "after", "left_out"))
    assert before > 0.2
    assert after < before / 2.5
    assert after < left_out < before / 2


def test_it_is_predicted_where_no_row_was_measured() -> None:
    """Other lengths and loads, and a model that no row had."""
    loads = ((700, 60, 16), (2000, 30, 2))
    rows = [*own_rows(HIDDEN, *loads), *own_rows(HIDDEN, *loads, model="Qwen/Qwen3-8B", gpus=1)]
    for row in rows:
        (bench,) = benches([a_case(row)])
        assert isinstance(bench, Bench) and row.tpot_s is not None
        before, after = (
            run_bench(bench, host_for(bench.case, profile)).tpot_s or 0.0
            for profile in (BELIEVED, found().profile)
        )
        assert abs(after / row.tpot_s - 1) < abs(before / row.tpot_s - 1) / 2


def test_the_numbers_move_the_way_the_server_lies() -> None:
    (old, new) = (
        next(row for row in each.paces if row.device != "any") for each in (BELIEVED, found().profile)
    )
    for name in ("decode", "prefill"):
        assert getattr(old, name) * 1.1 < getattr(new, name) < getattr(old, name) * 1.5
    own, was = (software_for(each, "vllm") for each in (found().profile, BELIEVED))
    assert own.step_us > 1.1 * was.step_us and own.api_us > was.api_us


def test_rows_as_predicted_move_nothing() -> None:
    same = calibrate_rows(own_rows(BELIEVED), BELIEVED)
    assert mean_error(same, "before") < 1e-9 and mean_error(same, "after") < 1e-9
    for row, was in zip(same.profile.software, BELIEVED.software, strict=True):
        assert all(getattr(row, name) == pytest.approx(getattr(was, name), rel=1e-6) for name in HOST)


def test_a_host_that_overlaps_may_show_in_own_rows() -> None:
    """Its time is hidden by belief; rows of a server where it is not find it."""
    believed = profile_with(overlaps=True)
    found = calibrate_rows(own_rows(HIDDEN), believed)
    own = software_for(found.profile, "vllm")
    assert not own.overlaps and own.step_us > SHOWS["step_us"]
    assert mean_error(found, "after") < mean_error(found, "before") / 3
    others = [row for row in found.profile.software if row.engine != "vllm"]
    assert others == [row for row in believed.software if row.engine != "vllm"]


def test_errors_are_those_of_each_metric_of_each_row() -> None:
    assert [(row.row_id, row.metric) for row in found().rows] == [
        ("-".join(map(str, load)), metric)
        for load in LOADS
        for metric in ("tpot_s", "ttft_s", "output_tokens_per_s")
    ]
    for row, source in zip(found().rows[::3], own_rows(HIDDEN), strict=True):
        assert row.measured == pytest.approx(source.tpot_s)


def test_one_row_has_nobody_to_be_left_out_for() -> None:
    one = calibrate_rows(own_rows(HIDDEN, (300, 40, 8)), BELIEVED)
    assert {row.left_out for row in one.rows} == {None}
    assert mean_error(one, "after") < mean_error(one, "before")


def test_what_the_rows_do_not_speak_of_stays_as_it_is() -> None:
    profile, believed = found().profile, BELIEVED
    assert software_for(profile, "any") == software_for(believed, "any")
    assert profile.paces[-1] == believed.paces[-1]
    assert profile.spreads == believed.spreads
    assert profile.source == f"{len(LOADS)} rows of one's own over by hand"
    assert software_for(profile, "vllm").rows == 9 + len(LOADS)


def test_an_engine_and_a_device_that_nobody_measured_get_rows_of_their_own() -> None:
    rows = own_rows(HIDDEN, *LOADS[:3], engine="sglang", gpu="H200")
    profile = calibrate_rows(rows, BELIEVED).profile
    software = software_for(profile, "sglang")
    pace = pace_of(profile, a_case(rows[0]).cluster.device, software)
    assert (software.engine, software.rows, pace.device, pace.rows) == (
        "sglang",
        3,
        "H200-SXM-141GB",
        9 + 3,
    )
    assert software_for(profile, "vllm") == software_for(BELIEVED, "vllm")


def test_rows_that_cannot_be_used_are_named() -> None:
    rows = [
        *own_rows(HIDDEN, (300, 40, 8)),
        a_row(row_id="tpu", gpu="TPU v5"),
        a_row(row_id="pd", mode="disagg"),
    ]
    refused = calibrate_rows(rows, BELIEVED).refused
    assert [text.split(":")[0] for text in refused] == ["tpu", "pd"]
    assert "TPU v5" in refused[0]


@pytest.mark.parametrize("row", [a_row(), a_row(mode="disagg", tpot_ms_mean=9.0)], ids=["blank", "refused"])
def test_without_a_measured_row_there_is_nothing_to_fit(row: Row) -> None:
    with pytest.raises(InputError, match="--from: '1 rows' is not allowed; expected a row with a measured"):
        calibrate_rows([row], BELIEVED)


COLUMNS = ("row_id", "model", "gpu", "gpus", "engine", "isl", "osl", "concurrency_or_batch")
FIGURES = ("ttft_ms_mean", "tpot_ms_mean", "output_tok_s_total")


def written(rows: list[Row], file: Path) -> Path:
    lines = [",".join(str(getattr(row, name) or "") for name in (*COLUMNS, *FIGURES)) for row in rows]
    file.write_text("\n".join((",".join((*COLUMNS, *FIGURES)), *lines)) + "\n", encoding="utf-8")
    return file


def test_plan_uses_the_profile_that_the_command_wrote(tmp_path: Path) -> None:
    """Servers that take twice as long as what is shipped says: so does the plan."""
    rows = own_rows(shipped_serving(), *LOADS[:4])
    slow = [
        row.model_copy(
            update={
                "tpot_ms_mean": 2 * (row.tpot_ms_mean or 0),
                "ttft_ms_mean": 2 * (row.ttft_ms_mean or 0),
                "output_tok_s_total": (row.output_tok_s_total or 0) / 2,
            }
        )
        for row in rows
    ]
    file, out = (
        written([*slow, a_row(row_id="pd", gpu="TPU v5")], tmp_path / "own.csv"),
        tmp_path / "own.json",
    )
    done = shardwright("calibrate", "--from", str(file), "-o", str(out), "--json")
    assert done.status == 0, done.err
    assert f"plan with it: shardwright plan ... --serving {out}" in done.err
    result = OwnCalibration.model_validate_json(done.out)
    assert serving_text(result.profile) == out.read_text(encoding="utf-8")
    assert serving_file(out) == result.profile
    assert [text.split(":")[0] for text in result.refused] == ["pd"]
    options = (
        "plan",
        "--model",
        "Qwen/Qwen3-32B",
        "--gpu",
        "H100",
        "--gpus",
        "2",
        "--layout",
        "tp2",
        "--batch",
        "8",
    )
    load = ("--input-tokens", "300", "--output-tokens", "40", "--json")
    usual, own = (
        json.loads(shardwright(*options, *load, *more).out)["pools"][0]["figures"]["tpot_s"]
        for more in ((), ("--serving", str(out)))
    )
    assert 1.5 < own["value"] / usual["value"] < 2.4
    assert "4 rows of one's own" in own["basis"]


def test_people_read_the_errors_and_what_was_not_used(tmp_path: Path) -> None:
    rows = [*own_rows(shipped_serving(), *LOADS[:2]), a_row(row_id="pd", gpu="TPU v5")]
    done = shardwright("calibrate", "--from", str(written(rows, tmp_path / "own.csv")))
    assert done.status == 0
    for words in ("Calibration on rows of one's own", "left out", "Not used", "TPU v5", "300-40-1"):
        assert words in done.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gpu", "H100"), "--gpu: ('H100',) is not allowed; expected nothing beside rows in a file"),
        (("--device", "cpu"), "either tables (--from DIR) or this machine"),
        (("--minutes", "1"), "--minutes: 1.0 is not allowed; expected nothing beside --from"),
    ],
)
def test_options_of_other_calibrations_are_refused(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    file = written([a_row()], tmp_path / "own.csv")
    done = shardwright("calibrate", "--from", str(file), *options)
    assert (done.status, done.out) == (2, "")
    assert message in done.err


def test_a_profile_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text('{"source": "mine"}')
    for file in ("own.json", "none.json"):
        options = ("--model", "Qwen3-8B", "--gpu", "H100", "--gpus", "1", "--serving", str(tmp_path / file))
        done = shardwright("plan", *options)
        assert done.status == 2 and "serving" in done.err and "Traceback" not in done.err
