"""plan --compare OLD: what it prints, and what it refuses."""

import json
from pathlib import Path

import pytest

from tests.cli.run import shardwright

OPTIONS = ("--model", "Qwen3-30B-A3B", "--gpus", "8", "--tpot-ms", "50")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    assert shardwright("plan", *OPTIONS, "--gpu", "H100", "-o", str(folder)).status == 0
    return folder


def test_the_same_again(old: Path) -> None:
    outcome = shardwright("plan", *OPTIONS, "--gpu", "H100", "--compare", str(old))
    assert outcome.status == 0 and "Nothing differs" in outcome.out


def test_another_gpu_and_load(old: Path) -> None:
    options = (*OPTIONS, "--gpu", "H200", "--batch", "512", "--compare", str(old / "plan.json"))
    drawn, printed = shardwright("plan", *options), shardwright("plan", *options, "--json")
    both = json.loads(printed.out)
    found = both["comparison"]
    assert drawn.status == printed.status == 0 and both["plan"]["met"]
    assert {"cluster.device.name", "workload.batch"} <= {row["field"] for row in found["inputs"]}
    assert [row["field"] for row in found["alone"]] == ["cluster", "workload"]
    assert f"is {both['plan']['pools'][0]['layout']} on 8 GPUs" in drawn.out
    assert "is still legal; TPOT" in drawn.out and found["verdict"] in " ".join(drawn.out.split())


def test_the_old_plan_may_be_written_over(old: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes((old / "plan.json").read_bytes())
    options = (*OPTIONS, "--gpu", "H100", "--batch", "64", "--compare", str(tmp_path), "-o", str(tmp_path))
    outcome = shardwright("plan", *options)
    assert outcome.status == 0 and "workload.batch" in outcome.out
    assert json.loads((tmp_path / "plan.json").read_text())["deployment"]["workload"]["batch"] == 64


def test_a_plan_of_another_schema_is_refused_and_nothing_written(old: Path, tmp_path: Path) -> None:
    values = json.loads((old / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**values, "schema_version": 4}))
    options = (*OPTIONS, "--gpu", "H100", "--compare", str(tmp_path), "-o", str(tmp_path / "new"))
    outcome = shardwright("plan", *options)
    assert outcome.status == 2 and outcome.err.count("\n") == 1 and not outcome.out
    assert "schema_version: 4 is not allowed" in outcome.err and not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"schema_version": 5}', "\x00"])
def test_what_is_no_plan_is_one_message(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "plan.json").write_text(content)
    outcome = shardwright("plan", *OPTIONS, "--gpu", "H100", "--compare", str(tmp_path))
    assert outcome.status == 2 and outcome.err.count("\n") == 1 and not outcome.out
