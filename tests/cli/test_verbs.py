"""The verbs end to end: what they print, what they write, and the exit status."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.run import shardwright

EXAMPLES = Path(__file__).parents[2] / "examples"
OPTIONS = ["--model", "Qwen3-30B-A3B", "--gpu", "H100", "--gpus", "8"]


def test_plan_of_a_file(tmp_path: Path) -> None:
    outcome = shardwright("plan", str(EXAMPLES / "qwen3-30b-a3b.yaml"), "-o", str(tmp_path))
    assert outcome.status == 0
    assert "vllm serve Qwen/Qwen3-30B-A3B" in outcome.out and "targets met" in outcome.out
    again = shardwright("explain", str(tmp_path))
    written = json.loads((tmp_path / "plan.json").read_text())
    assert again.status == 0 and written["pools"][0]["layout"] in again.out.splitlines()[0]


def test_plan_from_options_as_json() -> None:
    outcome = shardwright("plan", *OPTIONS, "--tpot-ms", "50", "--json", "--top", "2")
    plan = json.loads(outcome.out)
    assert outcome.status == 0 and plan["met"] and len(plan["alternatives"]) == 2
    assert plan["pools"][0]["num_gpus"] <= 8
    figure = plan["pools"][0]["figures"]["tpot_s"]
    assert figure["low"] < figure["value"] < figure["high"] and figure["basis"]


def test_a_missed_target_ends_with_1() -> None:
    outcome = shardwright("plan", *OPTIONS, "--tpot-ms", "0.1")
    assert outcome.status == 1 and "missed" in outcome.out


def test_a_named_layout_is_used_as_it_is() -> None:
    outcome = shardwright("plan", *OPTIONS, "--layout", "TP2-EP4-PP2-DP2", "--json")
    assert json.loads(outcome.out)["pools"][0]["layout"] == "tp2.dp2.pp2/ep4"
    best = shardwright("plan", *OPTIONS, "--layout", "TP2-EP4-PP2-DP2", "--best", "--json")
    assert json.loads(best.out)["pools"][0]["layout"] != "tp2.dp2.pp2/ep4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--model"),
        (("absent.yaml",), "readable file"),
        ((*OPTIONS, "--layout", "TP2-CP4"), "CP"),
        (("--model", "x", "--gpu", "H100", "--gpus", "8"), "model"),
        ((*OPTIONS[:-1], "12"), "--gpus"),
        ((*OPTIONS[:-1], "0"), "--gpus"),
        ((str(EXAMPLES / "qwen3-30b-a3b.yaml"), "--gpus", "8"), "--gpus"),
        ((*OPTIONS, "--engine", "triton"), "engine"),
    ],
)
def test_bad_input_is_one_message_and_2(arguments: tuple[str, ...], message: str) -> None:
    outcome = shardwright("plan", *arguments)
    assert outcome.status == 2 and message in outcome.err and not outcome.out


def test_nothing_fits_ends_with_1_and_says_why() -> None:
    outcome = shardwright("plan", "--model", "DeepSeek-V3", "--gpu", "H100", "--gpus", "4")
    assert outcome.status == 1 and "no layout of up to 4 GPUs fits" in outcome.err


def test_help_lists_the_verbs() -> None:
    outcome = shardwright("--help")
    assert outcome.status == 0 and all(verb in outcome.out for verb in ("plan", "audit", "explain"))
    assert shardwright("--version").out.startswith("shardwright")
    assert shardwright("deploy").status == 2


def test_core_needs_no_torch() -> None:
    """A whole plan in a process of its own imports neither torch nor transformers."""
    code = (
        "import sys; from shardwright.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('heavy:', [m for m in ('torch', 'transformers', 'scipy') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, "plan", *OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "heavy: []" and done.returncode == 0
