"""shardwright run: what it prints, in each of its modes, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shardwright.cli import runtime
from shardwright.run.tiny import make_tiny
from tests.cli.run import shardwright

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = ("--family", "mixtral", "--tokens", "6", "--prompt", "To be,", "--prompt", "日本")
DRAWN = ("--temperature", "0.9", "--top-p", "0.95", "--seed", "5")
LIMIT_S, ENDED_S = 120.0, 10.0
"""Of a whole torchrun (each process imports torch, on few cores); from a failure to the end of all."""


def run_json(*arguments: str) -> dict[str, object]:
    outcome = shardwright("run", *arguments, "--json")
    assert outcome.status == 0, outcome.err
    found: dict[str, object] = json.loads(outcome.out)
    return found


def test_the_layout_of_a_deployment() -> None:
    """TP2-EP4-PP2-DP2 on its 8 GPUs."""
    outcome = shardwright("run", str(EXAMPLES / "reference.yaml"), *TINY)
    assert outcome.status == 0 and outcome.out.startswith("Generated: tp2.dp2.pp2/ep4\n")
    text = " ".join(outcome.out.split())
    for said in ("checkpoint mixtral", "- To be,: ", "[6 tokens, length]", "5 decode steps", "Collectives"):
        assert said in text, said
    assert "one process that plays all ranks in turn: no measure of as many devices" in text


def test_without_a_checkpoint_it_is_the_reference_shape() -> None:
    outcome = shardwright("run", "--layout", "tp1", "--prompt-ids", "500,501", "--tokens", "1")
    assert outcome.status == 0 and "checkpoint reference" in outcome.out and "noise" in outcome.out
    assert "- 500,501: " in outcome.out and "[1 token, length]" in outcome.out
    assert "decode step" not in outcome.out and "Collectives" not in outcome.out


def test_drawn_tokens_are_alike_in_every_layout_and_mode() -> None:
    found = [
        run_json("--layout", layout, *TINY, *DRAWN, *mode)
        for layout, mode in (("tp4/ep4", ()), ("dp2/ep2", ("--batched",)), ("tp2/ep2", ("--processes",)))
    ]
    assert [result["mode"] for result in found] == ["in-process", "in-process", "processes"]
    answers = [result["answers"] for result in found]
    assert answers[0] == answers[1] == answers[2]
    assert found[0]["sampling"] == {"temperature": 0.9, "top_k": None, "top_p": 0.95, "seed": 5}


def test_prompts_of_a_file_a_folder_and_ids(tmp_path: Path) -> None:
    folder = make_tiny("llama", tmp_path / "llama")
    (tmp_path / "prompts.txt").write_bytes("déjà vu\r\nword\r\n".encode())
    found = run_json(
        *("--layout", "tp2", "--checkpoint", str(folder), "--tokens", "3"),
        *("--prompts", str(tmp_path / "prompts.txt"), "--prompt", "first", "--prompt-ids", "5, 6"),
    )
    answers = found["answers"]
    assert isinstance(answers, list)
    assert [answer["prompt"] for answer in answers] == ["first", "déjà vu", "word", None]
    assert answers[3]["prompt_tokens"] == [5, 6]
    assert found["checkpoint"] == "llama" and found["random_weights"] is False
    assert found["sampling"] == {"temperature": 0.0, "top_k": None, "top_p": None, "seed": 0}


def test_a_limit_of_what_is_drawn_from_means_drawing() -> None:
    sampling = run_json("--layout", "tp1", *TINY, "--top-k", "5")["sampling"]
    assert sampling == {"temperature": 1.0, "top_k": 5, "top_p": None, "seed": 0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--layout"),
        (("--layout", "tp2"), "--prompt TEXT"),
        (("--layout", "tp2", "--prompt", ""), "one token or more"),
        (("--layout", "tp2", "--prompt", "x", "--tokens", "0"), "--tokens"),
        (("--layout", "tp2", "--prompt", "x", "--tokens", "256"), "at most 255"),
        (("--layout", "tp2", "--prompt", "x", "--temperature", "-1"), "sampling.temperature"),
        (("--layout", "tp2", "--prompt", "x", "--top-p", "1.5"), "sampling.top_p"),
        (("--layout", "tp2", "--prompt", "x", "--top-k", "0"), "sampling.top_k"),
        (("--layout", "tp2", "--prompts", "absent.txt"), "absent.txt"),
        (("--layout", "tp2", "--prompt-ids", "1,-2"), "token ids, such as"),
        (("--layout", "tp2", "--prompt-ids", "1,9999"), "below 264"),
        (("--layout", "tp2", "--prompt", "x", "--family", "gpt5"), "gpt5"),
        (("--layout", "tp2", "--prompt", "x", "--checkpoint", "absent"), "absent"),
        (("--layout", "tp2", "--prompt", "x", "--checkpoint", ".", "--family", "llama"), "--family"),
        (("--layout", "tp3", "--prompt", "x"), "query heads"),
        (("--layout", "dp128/ep128", "--prompt", "x"), "64 ranks"),
        (("--layout", "dp2/ep2", "--prompt", "x", "--family", "mixtral"), "at least 2"),
        (("--layout", "tp2", "--prompt", "x", "--torchrun"), "torchrun started"),
    ],
)
def test_bad_input_is_one_message_and_2(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    own = {"--family", "--checkpoint"} & set(arguments)
    outcome = shardwright("run", *arguments, *(() if own else ("--family", "llama")))
    assert outcome.status == 2 and message in outcome.err and not outcome.out
    assert outcome.err.count("shardwright: ") == ("Usage:" not in outcome.err)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"one\n\xff\xfe\n", "UTF-8"), (b"one\n \nthree\n", ":2"), (b"", ":1"), (b"one\n\n", ":2")],
)
def test_a_file_of_prompts_that_is_none(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes(content)
    outcome = shardwright("run", "--layout", "tp2", "--prompts", str(tmp_path / "prompts.txt"))
    assert outcome.status == 2 and message in outcome.err and "prompts.txt" in outcome.err


def test_too_few_gpus_is_3() -> None:
    outcome = shardwright("run", "--layout", "tp32", "--prompt", "x", "--processes", "--device", "cuda")
    assert outcome.status == 3 and "a GPU for each of 32 processes" in outcome.err


# --- torchrun --------------------------------------------------------------------------------------


def place(monkeypatch: pytest.MonkeyPatch, rank: int, num_ranks: int) -> None:
    for name, value in {"RANK": rank, "WORLD_SIZE": num_ranks, "LOCAL_RANK": rank}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(num_ranks))


def test_what_all_ranks_find_wrong_only_the_first_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "LAST_WORD_S", 0.0)
    place(monkeypatch, 0, 2)
    first = shardwright("run", "--torchrun", "--layout", "tp4", "--prompt", "x")
    assert first.status == 2 and "'tp4, 4 ranks'" in first.err and "a layout of 2 ranks" in first.err
    place(monkeypatch, 1, 2)
    second = shardwright("run", "--torchrun", "--layout", "tp4", "--prompt", "x")
    assert (second.status, second.out, second.err) == (2, "", "")


def torchrun(num_ranks: int, *target: str) -> subprocess.CompletedProcess[str]:
    """Processes on this machine's loopback."""
    here = ("--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(num_ranks))
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *here, *target],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.mark.parametrize(
    ("num_ranks", "layout"), [(2, "tp2/ep2"), pytest.param(4, "tp2.pp2/ep2", marks=pytest.mark.slow)]
)
def test_under_torchrun_rank_0_prints_for_all(num_ranks: int, layout: str) -> None:
    words = ("run", "--torchrun", "--layout", layout, *TINY, *DRAWN, "--json")
    outcome = torchrun(num_ranks, "-m", "shardwright.cli.main", *words)
    assert outcome.returncode == 0, outcome.stderr
    found, alone = json.loads(outcome.stdout), run_json("--layout", layout, *TINY, *DRAWN)
    assert found["mode"] == "torchrun"
    for field in ("answers", "ranks", "collectives", "layout", "trial"):
        assert found[field] == alone[field], field


FAILS = """
import os, pathlib, signal, sys
from shardwright.cli.main import main
from shardwright.run.program import KERNELS

def spoiled(state, whole=KERNELS["mlp_norm"]):
    if os.environ["RANK"] == "1" and state.key == (1, 1):
        pathlib.Path(__file__ + ".failed").touch()
        {failure}
    whole(state)

KERNELS["mlp_norm"] = spoiled
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", f"exitcode  : -{signal.SIGKILL.value}"),
        (
            "raise ValueError('no good')",
            "rank 1 (attention+experts), step 1, micro-batch 1, computing after all_reduce 'attention_sum' "
            "of layer 0 over ranks [0, 1]: ValueError: no good",
        ),
    ],
)
def test_a_lost_rank_ends_all_and_is_named(failure: str, said: str, tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text(FAILS.format(failure=failure))
    outcome = torchrun(2, str(script), "run", "--torchrun", "--layout", "tp2/ep2", *TINY)
    assert outcome.returncode and not outcome.stdout and said in outcome.stderr
    assert time.time() - Path(f"{script}.failed").stat().st_mtime < ENDED_S
