"""A serving profile in a file: whole as it was written, and refused by name where a part is missing."""

from pathlib import Path

import pytest

from shardwright.cost.software import (
    ANY,
    ServingProfile,
    host_of,
    serving_file,
    serving_text,
    shipped_serving,
)
from shardwright.errors import InputError

SHIPPED = shipped_serving()


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(serving_text(SHIPPED), encoding="utf-8")
    assert serving_file(file) == SHIPPED


@pytest.mark.parametrize(
    ("part", "kept", "lacking"),
    [
        ("software", lambda row: row.engine != ANY, "no software of engine any"),
        ("paces", lambda row: row.device != ANY, "no pace of device any, generation 2026"),
        ("spreads", lambda row: row.metric != "ttft", "no spread of ttft, model left out"),
        ("spreads", lambda row: row.left_out != "engine", "no spread of tpot, engine left out"),
    ],
)
def test_what_a_profile_lacks_is_named(tmp_path: Path, part: str, kept: object, lacking: str) -> None:
    assert callable(kept)
    rows = tuple(row for row in getattr(SHIPPED, part) if kept(row))
    cut: ServingProfile = SHIPPED.model_copy(update={part: rows})
    file = tmp_path / "cut.json"
    file.write_text(serving_text(cut), encoding="utf-8")
    with pytest.raises(InputError, match=lacking) as caught:
        serving_file(file)
    assert str(file) in str(caught.value)


def test_a_host_that_overlaps_is_a_floor_and_else_a_cost() -> None:
    software, pace = SHIPPED.software[0], SHIPPED.paces[0]
    seconds = (software.step_us + 40 * software.layer_us) * 1e-6
    hosts = {
        overlaps: host_of(software.model_copy(update={"overlaps": overlaps}), pace, 40)
        for overlaps in (True, False)
    }
    assert (hosts[True].step_s, hosts[True].least_s) == (0.0, pytest.approx(seconds))
    assert (hosts[False].step_s, hosts[False].least_s) == (pytest.approx(seconds), 0.0)


def test_engines_of_today_overlap() -> None:
    """vLLM 0.33, SGLang 0.5 and TensorRT-LLM 1.2 do by default; whoever is not known is taken to."""
    newest = {row.engine: row for row in reversed(SHIPPED.software)}
    assert {name for name, row in newest.items() if row.overlaps} >= {"vllm", "sglang", "trtllm", ANY}
