"""The tiny checkpoints, made once, and copies of one to spoil."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from shardwright.run.tiny import FAMILIES, make_tiny


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All eight, a folder a family: to read, not to change."""
    folder = tmp_path_factory.mktemp("tiny")
    for family in FAMILIES:
        make_tiny(family, folder / family)
    return folder


@pytest.fixture
def llama(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made / "llama", tmp_path / "llama"))


@pytest.fixture
def sharded(made: Path, tmp_path: Path) -> Path:
    """The same model in several files, with their index."""
    model = AutoModelForCausalLM.from_pretrained(made / "llama", local_files_only=True)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="200KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 2
    return tmp_path / "sharded"


def change(folder: Path, file: str, **changed: Any) -> None:
    """Other values for fields of a JSON file."""
    stated = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(stated | changed))
