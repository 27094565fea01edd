"""A running server against a plan: what agrees, what differs, what cannot be compared."""

import json
from pathlib import Path
from typing import Any

import pytest

from shardwright.launch.inspect.audit import with_plan
from shardwright.launch.inspect.inspection import Inspection
from shardwright.launch.inspect.read import inspect
from shardwright.layout.notation import parse_layout
from shardwright.plan.deployment import resolve
from shardwright.plan.file import write_plan
from shardwright.plan.plan import Plan
from shardwright.search.search import plan_for
from tests.cli.run import shardwright
from tests.launch.inspect.replay import answers_of, serving


def planned(layout: str = "tp2.dp2/ep4", **fields: Any) -> Plan:
    values = {
        "model": "Qwen/Qwen3-30B-A3B",
        "cluster": {"gpu": "H100", "nodes": 1, "gpus_per_node": 4},
        "workload": {"batch": 64, "input_tokens": 1024, "output_tokens": 512},
        "targets": {"tpot_ms": 50, "ttft_ms": 2000},
        **fields,
    }
    return plan_for(resolve(values), parse_layout(layout), reason="as the test asks")


@pytest.fixture(scope="module")
def vllm() -> Inspection:
    with serving(answers_of("vllm")) as url:
        return inspect(url)


def verdicts(found: Inspection) -> dict[str, str]:
    assert found.audit is not None
    return {row.what: row.verdict for row in found.audit.rows}


def differing(found: Inspection) -> set[str]:
    return {what for what, verdict in verdicts(found).items() if verdict == "differs"}


def test_a_server_as_planned(vllm: Inspection) -> None:
    found = with_plan(vllm, planned())
    assert found.audit is not None and found.audit.agrees and not differing(found)
    said = verdicts(found)
    assert [what for what, verdict in said.items() if verdict == "not said"] == [
        "output tokens/s of a copy, measured"
    ]
    assert said["TPOT, measured"] == said["KV tokens a rank"] == said["target of TTFT"] == "agrees"


@pytest.mark.parametrize(
    ("changes", "layout", "rows"),
    [
        ({}, "tp4/ep4", {"TP", "DP"}),
        ({}, "tp2.dp2/etp4", {"EP"}),
        ({}, "tp2.pp2/ep2", {"DP", "PP", "EP", "GPUs a stage"}),
        ({"engine": "vllm@0.32"}, "tp2.dp2/ep4", {"version"}),
        ({"engine": "sglang"}, "tp2.dp2/ep4", {"engine"}),
        ({"targets": {"tpot_ms": 10, "ttft_ms": 40}}, "tp2.dp2/ep4", {"target of TPOT", "target of TTFT"}),
    ],
)
def test_each_difference_is_named(
    vllm: Inspection, changes: dict[str, Any], layout: str, rows: set[str]
) -> None:
    """Beside it only what follows from it: the memory and the figures of another plan."""
    found = with_plan(vllm, planned(layout, **changes))
    follow = {"KV tokens a rank", "TPOT, measured", "TTFT, measured", "weights of a GPU"}
    assert rows <= differing(found) <= rows | follow


def test_another_model_and_limit(vllm: Inspection) -> None:
    work = {"batch": 64, "input_tokens": 1024, "output_tokens": 512, "max_model_len": 4096}
    found = with_plan(vllm, planned(model="Qwen/Qwen3-235B-A22B", workload=work))
    assert {"model", "longest sequence"} <= differing(found)


def test_another_load_says_nothing_of_the_prediction(vllm: Inspection) -> None:
    work = {"batch": 8, "input_tokens": 1024, "output_tokens": 512}
    said = verdicts(with_plan(vllm, planned(workload=work)))
    assert said["requests running now"] == said["TPOT, measured"] == "other load"
    assert said["target of TPOT"] == "agrees"


def test_a_cache_too_small_for_the_load(vllm: Inspection) -> None:
    cache = vllm.said.cache.model_copy(update={"tokens": 31 * 1536})
    small = vllm.model_copy(update={"said": vllm.said.model_copy(update={"cache": cache})})
    assert {"KV room for the load", "KV tokens a rank"} == differing(with_plan(small, planned()))


def test_sglang_as_planned() -> None:
    with serving(answers_of("sglang")) as url:
        found = with_plan(inspect(url), planned(engine="sglang"))
    assert found.audit is not None and found.audit.agrees
    said = verdicts(found)
    assert {said[what] for what in ("TP", "DP", "PP", "EP", "copies", "weights of a GPU")} == {"agrees"}


def test_tensorrt_llm_says_too_little_to_agree() -> None:
    with serving(answers_of("trtllm")) as url:
        said = verdicts(with_plan(inspect(url), planned(engine="trtllm")))
    assert {said[what] for what in ("TP", "DP", "PP", "EP")} == {"not said"}
    assert said["version"] == "agrees" and said["TPOT, measured"] == "not said"


def test_copies_of_a_dense_model_are_dp_ranks_of_one_server(vllm: Inspection) -> None:
    found = with_plan(vllm, planned("tp2.x2", model="Qwen/Qwen3-32B"))
    assert verdicts(found)["DP"] == verdicts(found)["GPUs a stage"] == "agrees"


def test_the_verb(tmp_path: Path) -> None:
    write_plan(planned(), tmp_path / "same")
    write_plan(planned("tp4/ep4"), tmp_path / "other")
    with serving(answers_of("vllm")) as url:
        same = shardwright("inspect", url, "--plan", str(tmp_path / "same"))
        other = shardwright("inspect", url, "--plan", str(tmp_path / "other"), "--json")
        alone = shardwright("inspect", url)
    assert same.status == 0 and "as planned, where it says so" in same.out
    assert "142,000" not in same.out and "1,136,000" in same.out
    rows = {row["what"]: row for row in json.loads(other.out)["audit"]["rows"]}
    assert other.status == 1 and (rows["TP"]["planned"], rows["TP"]["found"]) == ("4", "2")
    assert alone.status == 0 and "Against the plan" not in alone.out


def test_a_plan_that_is_none_is_said_before_anybody_is_asked(tmp_path: Path) -> None:
    outcome = shardwright("inspect", "http://127.0.0.1:9", "--plan", str(tmp_path / "absent"))
    assert outcome.status == 2 and "readable file" in outcome.err
