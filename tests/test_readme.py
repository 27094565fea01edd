"""The README, docs/memory.md, docs/calibration.md and docs/launch.md show what their commands print.

Each `$ shardwright` block is run again. A line `...` stands for lines that are left out.
"""

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.run import shardwright

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```console\n\$ shardwright ([^\n]*)\n(.*?)```\n", re.DOTALL)


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def excerpts(shown: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for line in shown:
        if line == "...":
            parts.append([])
        else:
            parts[-1].append(line)
    return [part for part in parts if part]


@pytest.mark.parametrize(
    ("file", "least"),
    [("README.md", 3), ("docs/memory.md", 3), ("docs/calibration.md", 1), ("docs/launch.md", 4)],
)
def test_blocks_are_what_the_commands_print(file: str, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")
    blocks = BLOCK.findall((ROOT / file).read_text(encoding="utf-8"))
    assert len(blocks) >= least
    for command, shown in blocks:
        printed = lines(shardwright(*shlex.split(command)).out)
        at = 0
        for part in excerpts(lines(shown)):
            starts = [i for i in range(at, len(printed)) if printed[i : i + len(part)] == part]
            assert starts, f"shardwright {command} does not print, after line {at}:\n" + "\n".join(part)
            at = starts[0] + len(part)
        assert at > 3
