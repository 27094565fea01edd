"""A folder with an engine in it that is none."""

import os
import sys
from pathlib import Path

import pytest

FAKE_ENGINE = Path(__file__).with_name("fake_engine.py")


@pytest.fixture
def engine_path(tmp_path: Path) -> Path:
    """A folder whose `vllm` is tests/launch/fake_engine.py."""
    folder = tmp_path / "engine"
    folder.mkdir()
    program = folder / "vllm"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P "{FAKE_ENGINE}" "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.fixture
def environment(engine_path: Path) -> dict[str, str]:
    """Of a process that finds it."""
    return {**os.environ, "PATH": f"{engine_path}{os.pathsep}{os.environ['PATH']}"}
