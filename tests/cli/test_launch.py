"""shardwright launch end to end: what it prints, what it writes, and the exit status."""

import json
import os
from pathlib import Path

import pytest
import yaml

from tests.cli.run import shardwright

EXAMPLES = Path(__file__).parents[2] / "examples"
QWEN = str(EXAMPLES / "launch" / "qwen3-30b-a3b-8-h200.yaml")
APART = str(EXAMPLES / "launch" / "deepseek-v2-lite-apart.yaml")


def test_a_folder_has_the_plan_and_the_scripts(tmp_path: Path) -> None:
    outcome = shardwright("launch", QWEN, "--engine", "trtllm", "-o", str(tmp_path / "out"))
    assert outcome.status == 0 and "wrote 4 files" in outcome.err
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        *("plan.json", "trtllm.yaml", "start-node0.sh", "ready-node0.sh")
    }
    assert os.access(tmp_path / "out" / "start-node0.sh", os.X_OK)
    assert not os.access(tmp_path / "out" / "trtllm.yaml", os.X_OK)
    again = shardwright("launch", str(tmp_path / "out"), "--json")
    assert json.loads(again.out)["engine"] == "trtllm"


def test_json_is_the_record(tmp_path: Path) -> None:
    outcome = shardwright("launch", QWEN, "--engine", "vllm", "--json", "--host", "0.0.0.0", "--port", "9000")
    launch = json.loads(outcome.out)
    assert (launch["num_gpus"], launch["copies"], launch["nodes_per_copy"]) == (8, 2, 1)
    assert [(process["host"], process["port"]) for process in launch["processes"]] == [
        ("0.0.0.0", 9000),
        ("0.0.0.0", 9001),
    ]
    assert shardwright("launch", QWEN, "--json").out != ""


def test_a_plan_for_any_engine_starts_with_ours_where_no_server_runs_it() -> None:
    outcome = shardwright("launch", APART)
    assert outcome.status == 0 and "torch.distributed.run" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((QWEN, "--engine", "megatron"), "can be started"),
        ((QWEN, "--engine", "afd"), "deepseek_v2"),
        ((QWEN, "--engine", "afd", "--executor", "ray"), "--executor"),
        ((QWEN, "--host", "$(x)"), "--host"),
        ((QWEN, "--pods", "pods.yaml"), "--engine kubernetes"),
        ((QWEN, "--engine", "kubernetes", "--check"), "--check"),
        ((QWEN, "--engine", "kubernetes", "--host", "10.0.0.1"), "--pods FILE"),
        ((QWEN, "--engine", "kubernetes", "--pods", "absent.yaml"), "readable file"),
        ((QWEN, "--engine", "sglang", "--executor", "ray"), "--executor"),
        (("absent.yaml",), "readable file"),
        ((QWEN, "-o", "/dev/null/x"), "can be written"),
    ],
)
def test_bad_input_is_one_message_and_2(arguments: tuple[str, ...], message: str) -> None:
    outcome = shardwright("launch", *arguments)
    assert outcome.status == 2 and message in outcome.err
    assert outcome.err.count("\n") == 1 and "Traceback" not in outcome.err


def test_a_model_in_a_folder_is_found_from_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a model").mkdir()
    config = {
        "model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 128,
        "vocab_size": 512, "max_position_embeddings": 2048, "torch_dtype": "bfloat16",
    }  # fmt: skip
    (tmp_path / "a model" / "config.json").write_text(json.dumps(config))
    deployment = {"model": "a model", "cluster": {"gpu": "H100", "nodes": 1}, "layout": "tp2"}
    (tmp_path / "d.yaml").write_text(json.dumps(deployment))
    monkeypatch.chdir(tmp_path)
    launch = json.loads(shardwright("launch", "d.yaml", "--json").out)
    assert launch["processes"][0]["argv"][2] == str(tmp_path / "a model")


def test_pods_are_manifests_of_the_plans_engine(tmp_path: Path) -> None:
    options = tmp_path / "pods.yaml"
    options.write_text("namespace: serving\ncache: host\n", encoding="utf-8")
    folder = tmp_path / "out"
    outcome = shardwright("launch", QWEN, "--engine", "kubernetes", "--pods", str(options), "-o", str(folder))
    assert outcome.status == 0 and "kubectl apply -f kubernetes/" in outcome.out
    assert "start-node" not in outcome.out
    assert "copy1-node0                4  0-3" in outcome.out and "127.0.0.1" not in outcome.out
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml"))
    assert files == ["kubernetes/deployment.yaml", "kubernetes/service.yaml"]
    deployment = yaml.safe_load((folder / "kubernetes" / "deployment.yaml").read_text(encoding="utf-8"))
    assert deployment["metadata"]["namespace"] == "serving" and deployment["spec"]["replicas"] == 2
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "4"


@pytest.mark.parametrize(
    ("first", "then", "left"),
    [
        (("--engine", "vllm"), ("--engine", "kubernetes"), "ready-node0.sh, start-node0.sh"),
        (
            ("--engine", "kubernetes"),
            ("--engine", "vllm"),
            "kubernetes/claim.yaml, kubernetes/deployment.yaml",
        ),
    ],
)
def test_a_folder_holds_one_launch(
    first: tuple[str, ...], then: tuple[str, ...], left: str, tmp_path: Path
) -> None:
    """Files of an older one would be started, or applied, beside those of the new one."""
    assert shardwright("launch", QWEN, *first, "-o", str(tmp_path)).status == 0
    assert shardwright("launch", QWEN, *first, "-o", str(tmp_path)).status == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    outcome = shardwright("launch", QWEN, *then, "-o", str(tmp_path))
    assert outcome.status == 2 and f"a folder without files of another launch: {left}" in outcome.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_every_manifest_of_an_older_launch_is_known(tmp_path: Path) -> None:
    kinds = Path(__file__).parents[1] / "launch" / "kubernetes" / "golden"
    names = {path.name for path in kinds.rglob("*.yaml")}
    assert len(names) >= 7
    for name in names:
        folder = tmp_path / name / "kubernetes"
        folder.mkdir(parents=True)
        (folder / name).write_text("")
        own = ("--engine", "vllm", "-o", str(folder.parent))
        assert f"kubernetes/{name}" in shardwright("launch", QWEN, *own).err


@pytest.mark.parametrize("verb", ["launch", "plan", "bench", "audit", "simulate"])
def test_a_name_that_is_too_long_is_one_message(verb: str) -> None:
    outcome = shardwright(verb, "a" * 5000)
    assert (outcome.status, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert "File name too long" in outcome.err and len(outcome.err) < 300


def test_a_plan_by_another_name_is_one(tmp_path: Path) -> None:
    assert shardwright("plan", QWEN, "-o", str(tmp_path)).status == 0
    kept = (tmp_path / "plan.json").rename(tmp_path / "monday.json")
    assert shardwright("launch", str(kept)).out == shardwright("launch", QWEN).out
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "schema_version": 1}))
    outcome = shardwright("launch", str(kept))
    assert outcome.status == 2 and "monday.json: schema_version: 1 is not allowed" in outcome.err


def test_a_plan_without_a_layout_is_none(tmp_path: Path) -> None:
    assert shardwright("plan", QWEN, "-o", str(tmp_path)).status == 0
    file = tmp_path / "plan.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "pools": []}))
    for words in (("launch", str(file)), ("bench", str(file)), ("plan", QWEN, "--compare", str(file))):
        outcome = shardwright(*words)
        assert outcome.status == 2 and "plan.pools" in outcome.err and outcome.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red\n", "pods.yaml:1: pods.colour"),
        ("namespace: serving\ncache: [tape]\n", "pods.yaml:2: pods.cache"),
        ("- a\n", "pods"),
        ("{", "pods"),
    ],
)
def test_what_is_wrong_of_pods_is_named(tmp_path: Path, text: str, message: str) -> None:
    options = tmp_path / "pods.yaml"
    options.write_text(text, encoding="utf-8")
    outcome = shardwright("launch", QWEN, "--engine", "kubernetes", "--pods", str(options))
    assert outcome.status == 2 and message in outcome.err and outcome.err.count("\n") == 1
