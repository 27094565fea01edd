"""Deployment files: what is filled in is said, and what is wrong is named with file and line."""

from pathlib import Path

import pytest

from shardwright.errors import InputError
from shardwright.plan.deployment import Deployment, read_deployment, resolve
from shardwright.plan.strategy import resolve_layout

GOOD = """\
model: Qwen/Qwen3-30B-A3B
cluster: {gpu: H100-SXM-80GB, nodes: 2, gpus_per_node: 8, scale_out: InfiniBand-NDR}
workload: {batch: 128, input_tokens: 1024, output_tokens: 512, max_model_len: 8192, spread: 0.1}
targets:
  tpot_ms: 50
engine: vllm
"""


def read(tmp_path: Path, text: str) -> Deployment:
    file = tmp_path / "deploy.yaml"
    file.write_text(text, encoding="utf-8")
    return read_deployment(file)


def test_a_full_file_leaves_no_assumptions(tmp_path: Path) -> None:
    given = read(tmp_path, GOOD)
    assert given.assumptions == () and given.name == "deploy"
    assert given.cluster.num_gpus == given.usable_gpus == 16
    assert given.workload.mean_context == 1024 + 256


def test_json_is_read_too(tmp_path: Path) -> None:
    text = '{"model": "Llama-3.1-8B", "cluster": {"gpu": "H200", "nodes": 1, "gpus_per_node": 4}}'
    assert read(tmp_path, text).cluster.device.name == "H200-SXM-141GB"


def test_what_is_open_is_filled_in_and_said() -> None:
    given = resolve({"model": "Qwen3-30B-A3B", "cluster": {"gpu": "H100", "nodes": 2}})
    said = " ".join(given.assumptions)
    assert given.workload.batch == 128 and given.engine == "vllm"
    for field in (
        "batch: 128",
        "input_tokens: 1024",
        "output_tokens: 512",
        "max_model_len: 1690",
        "spread: 0.1",
        "vllm",
    ):
        assert field in said
    assert "InfiniBand" in said, "the network between nodes was not stated"


def test_lengths_vary_as_far_as_the_longest_request_allows() -> None:
    lengths = {"input_tokens": 1000, "output_tokens": 1000}
    for longest, spread in ((4000, 0.1), (2100, 0.05), (2000, 0.0)):
        workload = {**lengths, "max_model_len": longest}
        given = resolve(
            {"model": "Qwen3-30B-A3B", "cluster": {"gpu": "H100", "nodes": 1}, "workload": workload}
        )
        assert given.workload.spread == spread
        said = " ".join(given.assumptions)
        assert f"workload.spread: {spread:g}" in said
        assert ("no room" in said) == (spread < 0.1)


@pytest.mark.parametrize(
    ("line", "replacement", "field", "at"),
    [
        ("  tpot_ms: 50", "  tpot_ms: fast", "targets.tpot_ms", 5),
        ("  tpot_ms: 50", "  tpot_ms: -1", "targets.tpot_ms", 5),
        ("  tpot_ms: 50", "  tpot: 50", "targets.tpot", 5),
        ("engine: vllm", "engine: vlm", "engine", 6),
        ("engine: vllm", "engine: vllm\nengine: sglang", "engine", 7),
        ("batch: 128", "batch: true", "workload.batch", 3),
        ("batch: 128", "batch: 1.5", "workload.batch", 3),
        ("input_tokens: 1024", "input_tokens: 8000", "workload", 3),
        ("max_model_len: 8192", "max_model_len: 99999999", "workload.max_model_len", 3),
        ("spread: 0.1", "spread: 1.5", "workload.spread", 3),
        ("max_model_len: 8192, spread: 0.1", "max_model_len: 1600, spread: 0.1", "workload", 3),
        ("nodes: 2", "nodes: 0", "cluster.nodes", 2),
        ("H100-SXM-80GB", "H100-PCIe-9000", "cluster.gpu", 2),
        ("Qwen/Qwen3-30B-A3B", "Qwen3-30B-A3", "model", 1),
        ("engine: vllm", "reserve: {gpus: 16}", "reserve.gpus", 6),
        ("engine: vllm", "engine: [vllm", "deployment", 7),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, replacement: str, field: str, at: int) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, GOOD.replace(line, replacement))
    assert caught.value.field == field
    assert caught.value.where.endswith(f"deploy.yaml:{at}"), str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    for text in ("", "- a\n- b\n", "just words", "a: &x 1\nb: *x\n", "? [1, 2]\n: 3\n", "\x00"):
        with pytest.raises(InputError):
            read(tmp_path, text)
    with pytest.raises(InputError, match="readable file"):
        read_deployment(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_deployment(tmp_path / "binary.yaml")


def test_near_names_are_offered() -> None:
    with pytest.raises(InputError, match="Qwen/Qwen3-30B-A3B"):
        resolve({"model": "Qwen3-30B-A3", "cluster": {"gpu": "H100"}})


def strategy(text: str, gpus: int, model: str = "Qwen3-30B-A3B") -> str:
    cluster = {"gpu": "H100", "nodes": 1, "gpus_per_node": gpus}
    layout, said = resolve_layout(resolve({"model": model, "cluster": cluster, "layout": text}), text)
    return f"{layout.num_gpus}: {said}"


def test_a_strategy_is_the_reading_that_matches_the_gpus() -> None:
    assert strategy("TP2-EP4-PP2-DP2", 8).startswith("8: TP2-EP4-PP2-DP2 on 8 GPUs is tp2.dp2.pp2/ep4")
    assert strategy("tp2.dp2/ep4.x2", 8).startswith("8: tp2.dp2/ep4.x2 is canonical")
    with pytest.raises(InputError, match=r"several readings have 16 GPUs: .*tp2\.dp2\.pp2\+ep4 \(16 GPUs\)"):
        strategy("TP2-EP4-PP2-DP2", 16)
    with pytest.raises(InputError, match="no reading that keeps every degree has 7 GPUs"):
        strategy("TP2-EP4-PP2-DP2", 7)


def test_layouts_must_fit_the_kind_of_model() -> None:
    with pytest.raises(InputError, match="has no experts"):
        strategy("tp2.dp2/ep4", 4, model="Llama-3.1-8B")
    with pytest.raises(InputError, match="tp4/ep4"):
        strategy("tp4", 4)
