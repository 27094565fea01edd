"""A plan held against what vLLM printed when it ran it, and against what it would print of another layout."""

from pathlib import Path

import pytest

from shardwright.engine.catalog import find_engine
from shardwright.launch.check import Check, check_launch, needed_bytes
from shardwright.launch.client import Answer
from shardwright.launch.realised import Realised, realised_by_vllm
from shardwright.plan.plan import Plan
from tests.launch.test_realised import ALONE, recorded
from tests.launch.tiny_plans import tiny_plan

ENGINE = find_engine("vllm@0.32")
ANSWERS = [Answer(prompt=(1, 2), tokens=(3,) * 8, num_tokens=8)] * 2


def check(folder: Path, layout: str, text: str, answers: list[Answer] = ANSWERS) -> Check:
    plan = tiny_plan(folder, layout)
    return check_launch(
        plan,
        ENGINE,
        [(range(2), realised_by_vllm([text]))],
        answers,
        asked=(2, 8),
        startup_s=60.0,
        resident_bytes=4 * 10**9,
    )


def verdicts(found: Check) -> dict[str, bool | None]:
    return {row.what: row.ok for row in found.rows}


@pytest.mark.parametrize(("layout", "log"), [("tp2/ep2", "tp2ep"), ("dp2/ep2", "dp2ep")])
def test_what_vllm_realised_is_the_plan(tmp_path: Path, layout: str, log: str) -> None:
    text = recorded(log)
    found = check(tmp_path, layout, text)
    assert found.met, [row for row in found.rows if row.ok is False]
    rows = {row.what: row for row in found.rows}
    assert rows["version"].realised == "0.32.0"
    assert rows["rank 1"].realised == (
        "DP 0, PP 0, TP 1, EP 1" if log == "tp2ep" else "DP 1, PP 0, TP 0, EP 1"
    )
    assert rows["experts of EP rank 0"].realised == "4 of 8: 0-3"
    kv = rows["DP rank 0: KV bytes a token, of the fullest stage"]
    heads = 2 if log == "dp2ep" else 1
    assert kv.planned == kv.realised == f"{4 * 2 * heads * 32 * 4:,}", "layers, K and V, heads, width, fp32"
    uncompared = {row.what for row in found.rows if row.ok is None}
    assert {"weights of the fullest rank", "memory of all processes", "DP rank 0: KV cache"} <= uncompared
    assert all(bool(row.why) == (row.ok is None) for row in found.rows)


def test_experts_that_a_rank_does_not_print_are_no_finding(tmp_path: Path) -> None:
    rows = {row.what: row for row in check(tmp_path, "tp2/ep2", recorded("tp2ep")).rows}
    silent = rows["experts of EP rank 1"]
    assert (silent.planned, silent.realised, silent.ok) == ("4 of 8: 4-7", "not said", None)


@pytest.mark.parametrize(
    ("layout", "log", "wrong"),
    [
        ("tp2/ep2", "dp2ep", {"rank 1", "DP rank 0: KV bytes a token, of the fullest stage"}),
        ("dp2/ep2", "tp2ep", {"rank 1", "DP rank 0: KV bytes a token, of the fullest stage"}),
        ("pp2", "tp2ep", {"rank 0", "rank 1"}),
        ("tp2/etp2", "tp2ep", {"rank 0", "rank 1"}),
    ],
)
def test_another_layout_is_found_out(tmp_path: Path, layout: str, log: str, wrong: set[str]) -> None:
    found = check(tmp_path, layout, recorded(log))
    assert not found.met
    assert wrong <= {what for what, ok in verdicts(found).items() if ok is False}


def test_an_ep_that_is_not_said_is_not_held_against_a_rank(tmp_path: Path) -> None:
    """Of a rank without a worker of its own, the name gives the DP rank alone."""
    core = "(EngineCore_DP{} pid=4017)"
    lines = recorded("tp2ep").replace("(Worker_TP1_EP1 pid=4017)", core)
    wrong, right = (
        {row.what: row for row in check(tmp_path, "dp2/ep2", lines.replace(core, core.format(dp))).rows}
        for dp in (0, 1)
    )
    assert (wrong["rank 1"].realised, wrong["rank 1"].ok) == ("DP 0, PP 0, TP 0", False)
    assert (right["rank 1"].planned, right["rank 1"].ok) == ("DP 1, PP 0, TP 0", True)


def test_a_cache_in_another_dtype_is_found_out(tmp_path: Path) -> None:
    """It was served in bf16, and the plan is of the checkpoint's fp32."""
    found = verdicts(check(tmp_path, "tp2/etp2", recorded("tp2")))
    assert {what for what, ok in found.items() if ok is False} == {
        "DP rank 0: KV bytes a token, of the fullest stage"
    }


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("engine (v0.32.0)", "engine (v0.31.0)", "version"),
        ("experts: 4/8", "experts: 5/9", "experts of EP rank 0"),
        ("0->0, 1->1, 2->2, 3->3", "0->0, 1->2, 2->4, 3->6", "experts of EP rank 0"),
        (
            "KV cache size: 1,048,576",
            "KV cache size: 2,097,152",
            "DP rank 0: KV bytes a token, of the fullest stage",
        ),
        ("KV cache size: 1,048,576", "KV cache size: 256", "DP rank 0: sequences of 256 tokens that fit"),
        ("world_size=2 rank=1", "world_size=4 rank=3", "rank 1"),
    ],
)
def test_each_fact_is_held_by_itself(tmp_path: Path, old: str, new: str, wrong: str) -> None:
    text = recorded("tp2ep")
    assert old in text
    assert verdicts(check(tmp_path, "tp2/ep2", text))[wrong] is True
    assert verdicts(check(tmp_path, "tp2/ep2", text.replace(old, new)))[wrong] is False


def test_silence_is_a_finding(tmp_path: Path) -> None:
    found = check(tmp_path, "tp2/ep2", "")
    assert not found.met
    assert {"version", "ranks of a copy", "rank 0", "rank 1"} <= {
        what for what, ok in verdicts(found).items() if ok is False
    }


def test_a_request_without_its_answer_is_a_finding(tmp_path: Path) -> None:
    short = [ANSWERS[0], Answer(prompt=(1, 2), tokens=(3,), num_tokens=1)]
    found = verdicts(check(tmp_path, "tp2/ep2", recorded("tp2ep"), short))
    assert {what for what, ok in found.items() if ok is False} == {"requests answered"}


def test_on_a_gpu_weights_and_cache_are_compared(tmp_path: Path) -> None:
    """ALONE has 56.93 GiB of weights and 114,688 tokens: far from what the tiny plan has, and found so."""
    plan = tiny_plan(tmp_path, "tp1", cluster={"gpu": "H100", "nodes": 1, "gpus_per_node": 1})
    said = realised_by_vllm([ALONE.replace("v0.33.0", "v0.32.0")])
    found = _alone(plan, said)
    assert (found["weights of the fullest rank"], found["DP rank 0: KV cache"]) == (False, False)
    capacity = plan.pools[0].memory[0].kv_capacity_tokens
    near = said.model_copy(
        update={
            "ranks": (said.ranks[0].model_copy(update={"weights_bytes": 1.5e6}),),
            "caches": (said.caches[0].model_copy(update={"tokens": round(0.95 * capacity)}),),
        }
    )
    found = _alone(plan, near)
    assert (found["weights of the fullest rank"], found["DP rank 0: KV cache"]) == (True, True)
    assert "memory of all processes" not in found, "their host memory says nothing of a GPU's"


def _alone(plan: Plan, said: Realised) -> dict[str, bool | None]:
    return verdicts(
        check_launch(plan, ENGINE, [([0], said)], ANSWERS, asked=(2, 8), startup_s=None, resident_bytes=None)
    )


def test_copies_are_held_one_by_one(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "tp1.x2")
    said = realised_by_vllm([ALONE.replace("v0.33.0", "v0.32.0")])
    silent = realised_by_vllm([""])
    found = check_launch(
        plan, ENGINE, [([0], said), ([0], silent)], ANSWERS, asked=(2, 8), startup_s=None, resident_bytes=None
    )
    both = verdicts(found)
    assert (both["copy 0: rank 0"], both["copy 1: rank 0"]) == (True, False)


def test_ranks_of_one_memory_need_it_together(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "tp2/ep2")
    assert needed_bytes(plan, 2) == 2 * plan.pools[0].memory[0].used
