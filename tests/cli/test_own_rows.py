"""Rows measured on a GPU of one's own, of a model in a folder: read by the profile that names the GPU."""

import json
from pathlib import Path

import pytest

from shardwright.calibrate.measured.own import OwnCalibration
from shardwright.calibrate.measured.row import read_rows
from shardwright.calibrate.measured.validation import OK
from shardwright.engine.catalog import find_engine
from shardwright.launch.bench import read_result
from shardwright.launch.compare import prediction
from shardwright.launch.rows import append_row, measured_row
from shardwright.plan.plan import Plan
from shardwright.serving.requests import Lengths
from shardwright.serving.simulation import Load
from tests.cli.run import shardwright
from tests.launch.test_bench import written
from tests.launch.tiny_plans import tiny_plan

PROFILE = Path(__file__).parents[2] / "examples/profiles/amd-epyc-1-thread.json"


def own_plan(folder: Path) -> Plan:
    sheet = json.loads(PROFILE.read_text())
    gpu = {name: fact for name, fact in sheet["hardware"].items() if name != "vendor"}
    cluster = {"gpu": gpu, "scale_up": sheet["scale_up"], "nodes": 1, "gpus_per_node": 2}
    return tiny_plan(folder, "tp2/ep2", cluster=cluster, profile=str(PROFILE))


def load(concurrency: int) -> Load:
    lengths = {"input_tokens": Lengths(low=64, high=64), "output_tokens": Lengths(low=32, high=32)}
    return Load(kind="closed", concurrency=concurrency, num_requests=10 * concurrency, **lengths)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """What a server would give that needs twice the predicted time: of a client that is none."""
    plan, file = own_plan(tmp_path), tmp_path / "rows.csv"
    for concurrency in (1, 2, 4, 8):
        predicted, _ = prediction(plan, load(concurrency))
        assert predicted is not None
        seen = predicted.outcome
        assert seen.tpot_s is not None
        changes: dict[str, float] = {"output_throughput": seen.output_tokens_per_s / 2}
        for name, figure in (("ttft", seen.ttft_s), ("tpot", seen.tpot_s), ("e2el", seen.e2e_s)):
            parts = {"mean": figure.mean, "median": figure.p50, "p90": figure.p90, "p99": figure.p99}
            changes |= {f"{part}_{name}_ms": 2e3 * seconds for part, seconds in parts.items()}
        cells = measured_row(
            plan,
            find_engine("vllm@0.32"),
            load(concurrency),
            read_result(written(**changes)),
            date="2026-11-28",
            engine_version="0.32.0",
            commands=(),
            device="a test",
        )
        append_row(file, cells)
    return file


def test_they_are_predicted_by_the_profile_that_names_their_gpu(rows: Path) -> None:
    alone = json.loads(shardwright("validate", str(rows), "--json").out)
    assert {row["rule"] for row in alone["rows"]} == {"gpu"}
    found = json.loads(shardwright("validate", str(rows), "--profile", str(PROFILE), "--json").out)
    assert {row["status"] for row in found["rows"]} == {OK}
    for row, measured in zip(found["rows"], read_rows(rows), strict=True):
        assert measured.tpot_s is not None
        assert row["tpot_s"]["value"] * 2 == pytest.approx(measured.tpot_s, rel=0.03)


def test_a_plan_made_with_what_they_say_is_nearer(rows: Path, tmp_path: Path) -> None:
    serving = tmp_path / "serving.json"
    options = ("--from", str(rows), "--profile", str(PROFILE), "-o", str(serving), "--json")
    outcome = shardwright("calibrate", *options)
    assert outcome.status == 0, outcome
    found = OwnCalibration.model_validate_json(outcome.out)
    assert found.refused == ()
    tpot = [row for row in found.rows if row.metric == "tpot_s"]
    assert all(row.before == pytest.approx(0.5, abs=0.03) for row in tpot)
    assert all(row.after < 0.25 for row in tpot)
    file = tmp_path / "deployment.yaml"
    own_plan(tmp_path)
    before, after = (
        Plan.model_validate_json(shardwright("plan", str(file), "--json", *options).out)
        for options in ((), ("--serving", str(serving)))
    )
    step_s = [made.pools[0].figures.tpot_s.value for made in (before, after)]
    assert 1.4 < step_s[1] / step_s[0] < 2.6


def test_a_profile_is_for_rows_alone(tmp_path: Path, rows: Path) -> None:
    for options in (("--from", str(tmp_path)), ("--device", "cpu")):
        outcome = shardwright("calibrate", *options, "--profile", str(PROFILE))
        assert (outcome.status, "--profile" in outcome.err) == (2, True)
    outcome = shardwright("validate", str(rows), "--profile", str(tmp_path / "none.json"))
    assert (outcome.status, "profile" in outcome.err) == (2, True)
