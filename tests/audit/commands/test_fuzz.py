"""2,000 mutated command lines: one clear message, or a valid audit; never anything else, never a shell."""

import os
import random
import string
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shardwright.audit.commands.audit import audit_command
from shardwright.audit.commands.record import CommandAudit
from shardwright.engine.commands.catalog import SERVERS
from shardwright.engine.commands.reading import read_arguments
from shardwright.engine.commands.script import find_invocation
from shardwright.errors import InputError
from tests.audit.commands.table import commands

WORDS = """
0 -1 1 3 7 8 64 1e9 99999999 100000000000 0.5 1.5 nan inf -inf x true auto $X ${X} ' " \\ {} <M> & ../../etc
-tp -pp --dp --ep --tp -ep --enable-eplb --nnodes --config -- - --- -O3 . = --=1 --max-model-len /dev/zero
--eplb-config --eplb-config. --eplb-config.num_redundant_experts VLLM_PP_LAYER_PARTITION=1
Qwen/Qwen3-30B-A3B Qwen/Qwen3-8B deepseek-ai/DeepSeek-V2-Lite no/model
"""
JUNK = [
    *WORDS.split(),
    *["", " ", "\n", "\x00", "é" * 300, '{"a": [1]}', "[1, 2]", "--config c.yaml", "| sh"],
    *["$(touch fuzzed)", "`touch fuzzed`", "; touch fuzzed", "docker run vllm/vllm-openai"],
    "cat <<EOF > c.yaml\ntensor_parallel_size: 3\nEOF\n",
]


def mutated(text: str, chance: random.Random) -> str:
    """A copy with one to four words or characters replaced, removed, doubled or put in."""
    for _ in range(chance.randint(1, 4)):
        words = text.split(" ")
        at = chance.randrange(len(words))
        action = chance.random()
        if action < 0.4:
            words[at] = chance.choice(JUNK)
        elif action < 0.6:
            words.insert(at, chance.choice(JUNK))
        elif action < 0.75:
            del words[at]
        elif action < 0.85:
            words[at : at + 2] = reversed(words[at : at + 2])
        else:
            word = words[at]
            cut = chance.randrange(len(word) + 1)
            words[at] = word[:cut] + chance.choice(string.printable) + word[cut + chance.randint(0, 2) :]
        text = " ".join(words) or "vllm"
    return text


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder, and a world in which no process can be started."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a process was started")

    for module, names in ((subprocess, ("Popen", "run")), (os, ("system", "popen", "posix_spawn", "fork"))):
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_message(error: InputError) -> None:
    message = str(error)
    assert len(message) < 3000 and " is not allowed; expected " in message
    assert "\n" not in message.replace(repr(error.value), "")


@pytest.mark.parametrize("part", range(4))
def test_reading(part: int, no_process: Path) -> None:
    chance, refused = random.Random(part), 0
    bases = [row["command"] for row in commands().values()]
    for _ in range(450):
        text = mutated(chance.choice(bases), chance)
        try:
            arguments = read_arguments(find_invocation(text, SERVERS, no_process))
            assert all(row.sets in arguments.settings for row in arguments.given), text
        except InputError as error:
            one_message(error)
            refused += 1
    assert 30 < refused < 420, refused
    assert not list(no_process.iterdir())


@pytest.mark.parametrize("part", range(4))
def test_auditing(part: int, no_process: Path) -> None:
    chance, refused = random.Random(100 + part), 0
    bases = [
        "vllm serve Qwen/Qwen3-8B -tp 2 -pp 2 -dp 2 --max-model-len 8192 --gpu-memory-utilization 0.9",
        "vllm serve allenai/OLMoE-1B-7B-0924 -dp 4 -ep --enable-eplb --eplb-config.num_redundant_experts 4",
        "sglang serve deepseek-ai/DeepSeek-V2-Lite --tp 4 --attn-dp-size 2 --ep 4 --mem-fraction-static 0.8",
        "python -m sglang.launch_server --model openai/gpt-oss-20b --tp 2 --dp 2 --nnodes 1",
        "trtllm-serve mistralai/Mixtral-8x7B-v0.1 --tp_size 4 --ep_size 2 --max_batch_size 32",
    ]
    for _ in range(50):
        text = mutated(chance.choice(bases), chance)
        gpus = chance.choice([{}, {}, {"gpus": 4}, {"gpus": 8}])
        try:
            found = audit_command(text, {"cluster": {"gpu": "H100", **gpus}}, folder=no_process)
            assert CommandAudit.model_validate_json(found.model_dump_json()) == found, text
            assert found.runs == all(row.level != "stops" for row in found.findings), text
        except InputError as error:
            one_message(error)
            refused += 1
    assert 5 < refused < 48, refused
    assert not list(no_process.iterdir())
