"""The engines' own parsers on every command that is written (make test-engines)."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from shardwright.launch.engines import engine_named
from tests.launch.test_counts import CASES, launch_or_none
from tests.launch.test_flags import every_command

pytestmark = pytest.mark.engines

PARSER = Path(__file__).with_name("parse_sglang.py")


def commands(engine: str) -> list[list[str]]:
    """Those with everything set, and those of the plans that are counted."""
    found = [*every_command(engine)]
    for case in (case for case in CASES if case[0] == engine):
        launch = launch_or_none(*case)
        found += [list(process.argv) for process in launch.processes] if launch else []
    return found


def value(words: list[str], flag: str) -> int:
    return int(words[words.index(flag) + 1]) if flag in words else 1


def test_sglang_takes_every_command_without_a_warning() -> None:
    if find_spec("sglang") is None:
        pytest.skip("no sglang here: make test-engines installs it without its kernels")
    written = commands("sglang")
    assert len(written) > 400
    given = json.dumps([words[3:] for words in written])
    ran = subprocess.run(
        [sys.executable, "-P", str(PARSER)], input=given, capture_output=True, text=True, check=True
    )
    answers: list[dict[str, Any]] = json.loads(ran.stdout.splitlines()[-1])
    for words, set_ in zip(written, answers, strict=True):
        assert "refused" not in set_, (words, set_)
        assert set_["warned"] == "", words
        assert set_["model_path"] == words[words.index("--model-path") + 1]
        for name in ("tp_size", "pp_size", "attn_dp_size", "ep_size", "nnodes"):
            assert set_[name] == value(words, f"--{name.replace('_', '-')}"), (name, words)


def test_vllm_takes_every_command(recwarn: pytest.WarningsRecorder) -> None:
    vllm = pytest.importorskip("vllm", reason="make test-engines installs it")
    cli_args = pytest.importorskip("vllm.entrypoints.launchers.cli_args")
    argparse_utils = pytest.importorskip("vllm.utils.argparse_utils")
    assert vllm.__version__.startswith(engine_named("vllm@0.32").version)
    parser = cli_args.make_arg_parser(argparse_utils.FlexibleArgumentParser())
    written = commands("vllm@0.32")
    assert len(written) > 150
    for words in written:
        args = parser.parse_args(words[2:])
        assert args.model_tag == words[2]
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "nnodes"):
            assert getattr(args, name) == value(words, f"--{name.replace('_', '-')}"), (name, words)
        for name in ("enable_expert_parallel", "enable_dbo", "enable_eplb", "headless"):
            assert getattr(args, name) == (f"--{name.replace('_', '-')}" in words), (name, words)
        if "--all2all-backend" in words:
            assert args.all2all_backend == words[words.index("--all2all-backend") + 1]
    assert [
        str(one.message) for one in recwarn if "deprecated" in str(one.message) and "--" in str(one.message)
    ] == []
