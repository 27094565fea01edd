"""Published commands: the layout that each makes, and what is found; and whole reports against files.

After a wanted change: SHARDWRIGHT_REGENERATE=1 python -m pytest tests/audit/commands, and read the diff.
"""

import os
from typing import Any

import pytest
import yaml

from shardwright.audit.commands.audit import audit_command
from shardwright.audit.commands.findings import findings
from shardwright.audit.commands.subject import examine_command
from shardwright.engine.commands.catalog import SERVERS
from shardwright.engine.commands.reading import read_arguments
from shardwright.engine.commands.script import find_invocation
from shardwright.layout.notation import format_layout
from shardwright.model.catalog import model_names
from shardwright.report.command_document import command_document
from shardwright.report.markdown import command_markdown
from tests.audit.commands.table import FOLDER, commands, surroundings
from tests.report.drawing import drawn


def test_there_are_thirty_with_their_sources() -> None:
    rows = commands().values()
    assert len(rows) >= 30
    assert all(row["source"].startswith("https://") for row in rows)
    engines = [find_invocation(row["command"], SERVERS).server.engine for row in rows]
    assert min(map(engines.count, ("vllm", "sglang", "trtllm"))) >= 5


@pytest.mark.parametrize("name", commands())
def test_published_command(name: str) -> None:
    row = commands()[name]
    subject = examine_command(find_invocation(row["command"], SERVERS), surroundings(row))
    rows = findings(subject)
    made: dict[str, Any] = {
        "layout": format_layout(subject.layout) if subject.layout else None,
        "takes": subject.layout.num_gpus if subject.layout else None,
        "runs": all(finding.level != "stops" for finding in rows),
        "findings": [finding.id for finding in rows],
    }
    assert made == {key: row[key] for key in made}


@pytest.mark.parametrize("row", yaml.safe_load((FOLDER / "later.yaml").read_text(encoding="utf-8")))
def test_command_of_a_model_that_is_not_there_yet(row: dict[str, str]) -> None:
    invocation = find_invocation(row["command"], SERVERS)
    arguments = read_arguments(invocation)
    assert not [ignored.flag for ignored in arguments.ignored if ignored.why == "unknown"]
    if arguments.settings["model"] in model_names():  # enabled: it belongs into commands.yaml
        assert examine_command(invocation, {"cluster": {"gpu": "H200"}}).layout is not None


REPORTS = (
    "qwen3-30b-tp4-ep",
    "deepseek-v3-0324-eplb",
    "sglang-deepseek-v3-two-nodes",
    "trtllm-gpt-oss-throughput",
)


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("suffix", ["md", "txt"])
def test_report_is_the_golden_one(name: str, suffix: str) -> None:
    row = commands()[name]
    found = audit_command(row["command"], surroundings(row))
    text = command_markdown(found) if suffix == "md" else drawn(command_document(found))
    text = "\n".join(line.rstrip() for line in text.splitlines()) + "\n"
    file = FOLDER / "golden" / f"{name}.{suffix}"
    if os.environ.get("SHARDWRIGHT_REGENERATE"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
