"""shardwright audit of a command: from the argument, from a file, beside a deployment; its exit statuses."""

import json
import random
from pathlib import Path

import pytest
import yaml

from shardwright.audit.commands.record import CommandAudit
from tests.cli.run import shardwright
from tests.cli.test_fuzz import DEPLOYMENT, check, corrupt, mutate

COMMAND = "vllm serve Qwen/Qwen3-30B-A3B -tp 2 -dp 4 --enable-expert-parallel --max-model-len 8192"
GPUS = ("--gpu", "H100-SXM-80GB", "--gpus", "8")


def test_a_command_on_stdout_and_as_json() -> None:
    text = shardwright("audit", COMMAND, *GPUS)
    assert text.status == 0 and not text.err
    assert "It makes tp2.dp4/ep8 on 8 of 8 x H100-SXM-80GB (1 node of 8): runs." in text.out.replace(
        "\n", " "
    )
    found = CommandAudit.model_validate_json(shardwright("audit", COMMAND, *GPUS, "--json").out)
    assert (found.layout, found.gpus, found.runs, found.engine) == ("tp2.dp4/ep8", 8, True, "vLLM 0.33.0")
    assert {row.flag: row.means for row in found.given}["-dp"] == "DP 4"


@pytest.mark.parametrize("name", ["serve.sh", "serve.txt", "serve"])
def test_a_file_with_a_command(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    (tmp_path / "c.yaml").write_text("enable_attention_dp: true\n")
    file.write_text(
        "#!/bin/bash\ntrtllm-serve openai/gpt-oss-120b \\\n  --tp_size 8 --ep_size 8 --config c.yaml\n"
    )
    found = json.loads(shardwright("audit", str(file), "--gpu", "B200", "--json").out)
    assert found["layout"] == "dp8/ep8"


def test_a_deployment_beside_a_command(tmp_path: Path) -> None:
    file = tmp_path / "deployment.yaml"
    file.write_text(
        "model: Qwen/Qwen3-30B-A3B\n"
        "cluster: {gpu: H100-SXM-80GB, nodes: 1, gpus_per_node: 8}\n"
        "workload: {batch: 64, input_tokens: 512, output_tokens: 128}\n"
        "targets: {tpot_ms: 1000}\n"
    )
    command = "vllm serve /models/mine -tp 4 -ep --max-model-len 8192"
    met = shardwright("audit", command, str(file), "--json")
    found = json.loads(met.out)
    assert met.status == 0 and found["layout"] == "tp4/ep4"
    assert found["deployment"]["model"]["name"] == "/models/mine"
    assert found["deployment"]["workload"]["batch"] == 64
    missed = shardwright("audit", command, str(file), "--tpot-ms", "0.001", "--batch", "32", "--json")
    assert missed.status == 1 and json.loads(missed.out)["deployment"]["workload"]["batch"] == 32
    fewer = shardwright("audit", command, str(file), "--gpus", "2", "--json")
    assert fewer.status == 1
    assert [row["id"] for row in json.loads(fewer.out)["findings"] if row["level"] == "stops"] == ["gpus"]


def test_what_stops_it_is_status_1() -> None:
    text = "sglang serve deepseek-ai/DeepSeek-V3 --tp 2 --ep 4 --pp 2 --dp 2"
    outcome = shardwright("audit", text, "--gpu", "H200", "--gpus", "16")
    assert outcome.status == 1 and not outcome.err
    for said in (
        "moe_tp = 2 // 4 = 0",
        "--tp-size 4 --attn-dp-size 2 --ep-size 4 --pp-size 2",
        "tp2.dp2.pp2/ep4",
    ):
        assert said in " ".join(outcome.out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((COMMAND,), "--gpu: None is not allowed; expected --gpu, such as H100-SXM-80GB"),
        ((COMMAND, "--gpu", "H900"), "H900"),
        ((COMMAND, *GPUS[:3], "0"), "--gpus: 0"),
        ((COMMAND, *GPUS, "--hosts", "a,b"), "--hosts: 'a,b' is not allowed; expected --gpus"),
        ((COMMAND, *GPUS[:3], "12"), "--gpus: 12 is not allowed; expected up to 8, or whole nodes of 8"),
        (
            (COMMAND, *GPUS, "--layout", "tp8"),
            "--layout: 'tp8' is not allowed; expected nothing beside a command",
        ),
        ((f"{COMMAND} -tp x", *GPUS), "-tp: 'x'"),
        (("echo hello", *GPUS), "a command that starts a server"),
        (("missing.yaml",), "a readable file"),
        ((COMMAND, "missing.yaml"), "a readable file"),
        (("examples/reference.yaml", "examples/reference.yaml"), "one deployment file"),
        ((COMMAND, *GPUS, "--input-tokens", "9000"), "exceed max_model_len 8192"),
    ],
)
def test_bad_input_is_one_message_and_status_2(arguments: tuple[str, ...], message: str) -> None:
    outcome = shardwright("audit", *arguments)
    assert outcome.status == 2 and not outcome.out
    assert message in outcome.err and len(outcome.err.splitlines()) == 1


def test_mutated_deployments_beside_a_command(tmp_path: Path) -> None:
    chance, refused = random.Random(7), 0
    file = tmp_path / "deployment.yaml"
    base = {**DEPLOYMENT, "cluster": {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 8}}
    for _ in range(100):
        text = yaml.safe_dump(mutate(base, chance), sort_keys=False, allow_unicode=True)
        file.write_text(text if chance.random() < 0.7 else corrupt(text, chance), encoding="utf-8")
        more = ["--gpus", "4"] if chance.random() < 0.3 else []
        outcome = shardwright("audit", "vllm serve Qwen/Qwen3-8B -tp 2", str(file), *more)
        refused += check(outcome, text) == 2
    assert 20 < refused < 90, refused


def test_markdown(tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    assert shardwright("audit", COMMAND, *GPUS, "-o", str(file)).status == 0
    text = file.read_text()
    assert text.startswith("# Audit of a command: vLLM 0.33.0")
    assert "Sources of the flags" in text
