"""The change that pays most: what it changes, that its command makes its layout, and what it gains."""

from pathlib import Path

import pytest

from shardwright.audit.commands.audit import audit_command
from shardwright.layout.notation import format_layout
from tests.audit.commands.table import audited, examined

COMMANDS = [
    ("vllm serve Qwen/Qwen3-30B-A3B -tp 1 -dp 8 --max-num-seqs 16 --max-model-len 4096", 8),
    ("vllm serve openai/gpt-oss-20b --port 80 --trust-remote-code", 8),
    ("vllm serve Qwen/Qwen3-32B -pp 4", 8),
    ("sglang serve --model-path deepseek-ai/DeepSeek-V3 --tp 8 --pp-size 2 --context-length 8192", 16),
    ("sglang serve --model-path Qwen/Qwen3-8B --tp 8 --mem-fraction-static 0.8", 8),
    ("trtllm-serve openai/gpt-oss-120b --tp_size 2 --pp_size 4 --max_batch_size 64", 8),
]


@pytest.mark.parametrize(("text", "gpus"), COMMANDS)
def test_its_command_makes_its_layout(text: str, gpus: int) -> None:
    audit = audited(text, "H200", gpus=gpus)
    change = audit.change
    assert change is not None and audit.pool is not None
    words = change.command.replace("'(enable_attention_dp: true)'", "")
    again = examined(words, "H200", gpus=gpus)
    one = again.the_layout.model_copy(update={"copies": again.the_layout.copies * change.num_commands})
    if "enable_attention_dp" not in change.command:
        assert format_layout(one) == change.layout
    kept = {row.sets for row in again.arguments.given} - {"max_sequences"}
    layout = {"tp", "pp", "dp", "ep", "replicas", "expert_parallel", "attn_dp"}
    before = {row.sets for row in audit.given} - {"max_sequences"}
    assert kept - layout == before - layout, "all else stays"


@pytest.mark.parametrize(("text", "gpus"), COMMANDS)
def test_gain_is_the_ratio_of_the_two_predictions(text: str, gpus: int) -> None:
    audit = audited(text, "H200", gpus=gpus)
    change, pool = audit.change, audit.pool
    assert change is not None and change.gain is not None and pool is not None
    old, new = pool.figures.throughput_tokens_per_s, change.pool.figures.throughput_tokens_per_s
    assert change.gain.value == pytest.approx(new.value / old.value)
    assert change.gain.low == pytest.approx(new.low / old.high)
    assert change.gain.high == pytest.approx(new.high / old.low)
    assert change.within_noise == (new.low <= old.high)
    assert ("within the noise" in change.sentence) == (change.within_noise and change.gain.value > 1)


def test_the_best_command_changes_nothing() -> None:
    first = audited(COMMANDS[0][0], gpus=8).change
    assert first is not None and first.num_commands * first.pool.num_gpus >= 1
    second = audit_command(
        first.command, {"cluster": {"gpu": "H100-SXM-80GB", "gpus": 8 // first.num_commands}}
    )
    assert second.layout is not None


def test_a_layout_with_more_sequences_a_rank_raises_the_limit() -> None:
    audit = audited("vllm serve Qwen/Qwen3-30B-A3B -dp 4 -tp 2 --max-num-seqs 16", gpus=8)
    assert audit.change is not None and audit.deployment.workload.batch == 64
    row = next(row for row in audit.change.flags if row.flag == "--max-num-seqs")
    assert (row.now, int(row.then)) == ("16", audit.change.pool.sequences_per_rank)
    assert f"--max-num-seqs {row.then}" in audit.change.command


def test_latency_as_the_objective() -> None:
    audit = audited("vllm serve Qwen/Qwen3-30B-A3B -dp 8 -ep", gpus=8, objective="latency")
    change, pool = audit.change, audit.pool
    assert change is not None and change.gain is not None and pool is not None
    assert change.metric == "TPOT"
    assert change.gain.value == pytest.approx(pool.figures.tpot_s.value / change.pool.figures.tpot_s.value)
    assert change.gain.value >= 1


def test_where_nothing_fits_there_is_none() -> None:
    audit = audited("vllm serve deepseek-ai/DeepSeek-V3", gpus=1)
    assert audit.change is None and not audit.runs
    assert audit.deployment.assumptions[-1].startswith(
        "No better layout was found: no layout of up to 1 GPUs fits"
    )


def test_what_it_keeps_stands_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("max-model-len: 4096\ntensor-parallel-size: 8\n")
    text = (
        "HF_HOME=/a vllm serve Qwen/Qwen3-8B --config c.yaml --no-enable-prefix-caching "
        "--api-key=-k --port 9 --eplb-config.window_size 10"
    )
    audit = audit_command(text, {"cluster": {"gpu": "H100", "gpus": 8}}, folder=tmp_path)
    assert audit.change is not None
    kept = "--no-enable-prefix-caching --api-key=-k --port 9 --eplb-config.window_size 10 --config c.yaml"
    assert kept in audit.change.command
    assert ("-tp", "8") in {(row.flag, row.now) for row in audit.change.flags}


def test_gpus_of_a_node_are_those_of_the_device() -> None:
    audit = audited("vllm serve Qwen/Qwen3-30B-A3B -tp 8", "GB200", gpus=8)
    assert (audit.deployment.cluster.nodes, audit.deployment.cluster.gpus_per_node) == (2, 4)
