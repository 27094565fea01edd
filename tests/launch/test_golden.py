"""Whole launches against files, and docs/launch.md against both.

After a wanted change: SHARDWRIGHT_REGENERATE=1 python -m pytest tests/launch/test_golden.py
and read the diff.
"""

import os
import re
from functools import cache
from pathlib import Path

import pytest

from shardwright.cli.launch import plan_in
from shardwright.launch.engines import engine_named
from shardwright.launch.launch import Launch
from shardwright.launch.make import launch_of
from tests.launch.test_flags import rows

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
CASES: dict[str, tuple[str, str, dict[str, str]]] = {
    "vllm-copies": ("qwen3-30b-a3b-8-h200", "vllm", {}),
    "vllm-two-nodes": ("deepseek-v3-16-h200", "vllm", {}),
    "vllm-0.32-two-nodes": ("deepseek-v3-16-h200", "vllm@0.32", {}),
    "vllm-ray": ("deepseek-v3-16-h200", "vllm", {"executor": "ray"}),
    "sglang-copies": ("qwen3-30b-a3b-8-h200", "sglang", {"host": "0.0.0.0"}),
    "sglang-two-nodes": ("deepseek-v3-16-h200", "sglang", {}),
    "trtllm-copies": ("qwen3-30b-a3b-8-h200", "trtllm", {}),
    "trtllm-two-nodes": ("deepseek-v3-16-h200", "trtllm", {}),
    "afd": ("deepseek-v2-lite-apart", "afd", {}),
    "torchrun-two-nodes": ("deepseek-v3-16-h200", "torchrun", {}),
}
BLOCK = re.compile(r"^```(?:sh|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@cache
def launched(case: str) -> Launch:
    example, name, options = CASES[case]
    engine = engine_named(name)
    plan = plan_in(ROOT / "examples" / "launch" / f"{example}.yaml", engine)
    return launch_of(plan, engine, **options)


def written(launch: Launch) -> str:
    parts = [f"==> {file.path}{' (executable)' * file.executable} <==\n{file.text}" for file in launch.files]
    return "\n".join((*parts, "==> notes <==", *launch.notes, ""))


@pytest.mark.parametrize("case", CASES)
def test_launch_is_the_golden_one(case: str) -> None:
    text, file = written(launched(case)), GOLDEN / f"{case}.txt"
    if os.environ.get("SHARDWRIGHT_REGENERATE"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_every_golden_has_its_case() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_no_golden_has_a_flag_that_its_version_deprecates(engine: str) -> None:
    """Scripts and manifests, as they lie on disk."""
    folders = (GOLDEN.glob(f"{engine}*.txt"), GOLDEN.parent.glob(f"kubernetes/golden/{engine}*/*.yaml"))
    texts = [file.read_text(encoding="utf-8") for folder in folders for file in folder]
    flags = {flag for text in texts for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9_-]+", text)}
    assert len(texts) >= 3 and len(flags) >= 6
    assert not flags & set(rows()[engine]["deprecated"].split())


def test_what_the_manual_shows_is_in_the_goldens() -> None:
    """Each block is some lines of a golden, one after the other."""
    blocks = BLOCK.findall((ROOT / "docs" / "launch.md").read_text(encoding="utf-8"))
    goldens = [file.read_text(encoding="utf-8") for file in GOLDEN.iterdir()]
    assert len(blocks) >= 5
    for block in blocks:
        assert any(f"\n{block}" in golden for golden in goldens), block
