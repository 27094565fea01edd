"""The README, docs/memory.md, docs/calibration.md and docs/launch.md show what their commands print.

Each `$ shardwright` block is run again; a line `...` stands for lines that are left out. Those of launch.md
find three plans (plan, served, old), an engine that replays what vLLM 0.32.0 printed, and on port 18000 a
server that replays answers: figures of theirs are nobody's, and the manual leaves them out.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardwright.plan.file import write_plan
from tests.cli.run import shardwright
from tests.launch.conftest import engine_path  # noqa: F401 - a fixture
from tests.launch.inspect.replay import answers_of, serving
from tests.launch.inspect.test_audit import planned
from tests.launch.test_realised import LOGS
from tests.launch.test_start import free_port
from tests.launch.tiny_plans import tiny_plan

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
    [("README.md", 3), ("docs/memory.md", 3), ("docs/calibration.md", 1)],
)
def test_blocks_are_what_the_commands_print(file: str, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "80")
    assert_printed(file, least, {})


PORT = "18000"
"""Of the manual; none is sure to be free."""

LAUNCH = (ROOT / "docs" / "launch.md").read_text(encoding="utf-8")


@pytest.fixture
def server() -> Iterator[str]:
    with serving(answers_of("vllm")) as url:
        yield url.rpartition(":")[2]


def test_blocks_of_launch_are_what_the_commands_print(
    tmp_path: Path,
    engine_path: Path,  # noqa: F811
    server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("SHARDWRIGHT_ENGINE_PATH", str(engine_path))
    monkeypatch.setenv("FAKE_LOG", str(LOGS / "vllm-0.32-tp2ep.log"))
    Path("examples").symlink_to(ROOT / "examples")
    write_plan(tiny_plan(tmp_path, "tp2/ep2"), Path("plan"))
    write_plan(planned(), Path("served"))
    assert shardwright("plan", "examples/launch/qwen3-30b-a3b-8-h200.yaml", "-o", "old").status == 0
    assert_printed(
        "docs/launch.md", 9, {"inspect": server, "launch": str(free_port()), "bench": str(free_port())}
    )


def test_the_loop_of_the_manual_is_that_of_the_example() -> None:
    """Word for word, but for folders, one port, and the load of one of several benches."""
    (block,) = re.findall(r"^```text\n(.*?)^```$", LAUNCH, re.DOTALL | re.MULTILINE)
    text = (ROOT / "examples" / "loop.sh").read_text(encoding="utf-8")
    said = [
        line.strip() for line in re.findall(r"^\s*(?:show|\"\$bin/shardwright\") .*$", text, re.MULTILINE)
    ]
    values = {"$out/": "", "${MINUTES:-1}": "1", " --port $port": "", "$port": PORT, "$load": "4", " &": ""}
    expected = []
    for line in said:
        plain = line.replace('"', "").removeprefix("show ").removeprefix("$bin/shardwright ")
        for name, value in values.items():
            plain = plain.replace(name, value)
        expected.append(f"shardwright {plain}")
    assert block.splitlines() == [line for line in expected if line != "shardwright $@"]


def assert_printed(file: str, least: int, ports: dict[str, str]) -> None:
    """ports: by verb, the port that stands for the manual's."""
    blocks = BLOCK.findall((ROOT / file).read_text(encoding="utf-8"))
    assert len(blocks) >= least
    for command, shown in blocks:
        words = shlex.split(command)
        port = ports.get(words[0], PORT)
        outcome = shardwright(*(word.replace(PORT, port) for word in words))
        assert outcome.status in (0, 1), outcome.err
        printed = lines(outcome.out.replace(port, PORT))
        at = 0
        for part in excerpts(lines(shown)):
            starts = [i for i in range(at, len(printed)) if printed[i : i + len(part)] == part]
            assert starts, f"shardwright {command} does not print, after line {at}:\n" + "\n".join(part)
            at = starts[0] + len(part)
        assert at > 3
