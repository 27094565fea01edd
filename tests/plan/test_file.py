"""plan.json: whole or not at all, the same when read back, refused clearly when it is not ours."""

import json
from pathlib import Path

import pytest

from shardwright.errors import InputError
from shardwright.plan.file import read_plan, write_plan, write_text
from shardwright.plan.plan import Plan
from shardwright.search.search import search
from tests.samples import SMALL_MOE
from tests.search.test_search import deployment


@pytest.fixture(scope="module")
def plan() -> Plan:
    return search(deployment(SMALL_MOE, 4, targets={"tpot_ms": 10}))


def test_a_plan_reads_back_as_it_was(plan: Plan, tmp_path: Path) -> None:
    path = write_plan(plan, tmp_path / "deep" / "folder")
    assert read_plan(path) == read_plan(path.parent) == plan
    assert [entry.name for entry in path.parent.iterdir()] == ["plan.json"], "nothing half-written is left"


def test_figures_can_be_computed_again_from_the_plan(plan: Plan, tmp_path: Path) -> None:
    kept = read_plan(write_plan(plan, tmp_path))
    assert search(kept.deployment) == plan


def test_plans_of_another_version_are_refused(plan: Plan, tmp_path: Path) -> None:
    values = json.loads(plan.model_dump_json())
    path = tmp_path / "plan.json"
    for change, message in (
        ({"schema_version": 99}, "make the plan again"),
        ({"pools": "none"}, "plan.pools"),
        ({"unknown": 1}, "plan.unknown"),
    ):
        path.write_text(json.dumps({**values, **change}))
        with pytest.raises(InputError, match=message):
            read_plan(path)
    for text in ("{", "[]", "", "nonsense"):
        path.write_text(text)
        with pytest.raises(InputError):
            read_plan(path)
    with pytest.raises(InputError, match="readable file"):
        read_plan(tmp_path / "absent" / "plan.json")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a place that can be written"):
        write_text(tmp_path / "file" / "plan.json", "text")


def test_written_files_are_readable_by_others(tmp_path: Path) -> None:
    assert write_text(tmp_path / "plan.json", "text").stat().st_mode & 0o777 == 0o644
