"""shardwright prove: what it prints and writes, and what it refuses."""

import json
from pathlib import Path

import pytest

from tests.cli.run import shardwright


def test_a_layout_alone(tmp_path: Path) -> None:
    outcome = shardwright("prove", "--layout", "tp2/ep2", "--families", "qwen3_moe", "-o", str(tmp_path))
    assert outcome.status == 0 and "Layout proved: 1 of 1 checkpoint pass" in outcome.out
    proof = json.loads((tmp_path / "proof.json").read_text())
    (family,) = proof["families"]
    assert proof["layout"] == "tp2/ep2" and proof["passed"] and proof["schema_version"] == 1
    assert 0 < family["largest_difference"] <= family["tolerance"]
    assert all(row["recorded_bytes"] == row["graph_bytes"] > 0 for row in family["collectives"])


def test_a_process_a_rank(tmp_path: Path) -> None:
    words = ("--layout", "tp2/ep2", "--families", "mixtral", "--processes", "--batched", "--near-ranks", "2")
    outcome = shardwright("prove", *words, "--chunk-tokens", "3", "--json")
    proof = json.loads(outcome.out)
    (family,) = proof["families"]
    assert outcome.status == 0 and (proof["mode"], proof["passed"]) == ("processes", True)
    assert family["trial"] == {"micro_batches": 2, "near_ranks": 2, "chunk_tokens": 3, "batched": True}
    assert family["num_steps"] == 7


def test_the_layout_of_a_deployment(tmp_path: Path) -> None:
    """TP2-EP4-PP2-DP2 on the 8 GPUs that the document declares is the folded reading."""
    reference = Path(__file__).parents[2] / "examples" / "reference.yaml"
    outcome = shardwright("prove", str(reference), "--families", "mixtral", "--json")
    assert outcome.status == 0 and json.loads(outcome.out)["layout"] == "tp2.dp2.pp2/ep4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--layout"),
        (("--layout", "TP2-EP2"), "layout"),
        (("--layout", "tp2/ep2", "--families", "gpt5"), "gpt5"),
        (("--layout", "tp3/ep3", "--families", "llama"), "query heads"),
        (("--layout", "dp128/ep128"), "64 ranks"),
        (("--layout", "dp64/ep64", "--processes"), "32 ranks"),
        (("--layout", "tp2/ep2", "--near-ranks", "4", "--families", "mixtral"), "near_ranks"),
        (("--layout", "tp2/ep2", "--rank", "0"), "PLAN"),
        (("--layout", "tp2/ep2", "--checkpoint", "absent"), "absent"),
        (("absent.yaml",), "readable file"),
    ],
)
def test_bad_input_is_one_message_and_2(arguments: tuple[str, ...], message: str) -> None:
    outcome = shardwright("prove", *arguments)
    assert outcome.status == 2 and message in outcome.err and not outcome.out
    assert outcome.err.count("shardwright: ") == 1
