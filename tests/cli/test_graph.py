"""shardwright graph: each format, where it goes, and bad input in one message."""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from shardwright.dag.chakra.schema import messages
from shardwright.dag.document import StepGraph
from tests.cli.run import shardwright
from tests.dag.chakra_wire import wire_metadata, wire_nodes

REFERENCE = str(Path(__file__).parents[2] / "examples" / "reference.yaml")
LARGE = "tp8.dp128.pp2/ep64.etp8.edp2"


def test_json_is_the_documented_record() -> None:
    outcome = shardwright("graph", REFERENCE, "--steps", "2", "--order", "serial")
    found = StepGraph.model_validate_json(outcome.out)
    assert outcome.status == 0 and outcome.err == ""
    assert (found.layout, found.engine, found.schedule.micro_batches) == ("tp2.dp2.pp2/ep4", "vllm", 2)
    assert {node.step for node in found.nodes} == {0, 1} and found.num_steps == 2


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("svg", ElementTree.fromstring),
        ("perfetto", json.loads),
        ("dot", lambda text: text.startswith("digraph") or pytest.fail(text)),
    ],
)
def test_other_formats_go_to_a_file_or_to_stdout(form: str, read: object, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "graph"
    arguments = ("graph", REFERENCE, "--format", form)
    outcome = shardwright(*arguments, "-o", str(file))
    assert (outcome.status, outcome.out, outcome.err) == (0, "", f"wrote {file}\n")
    assert file.read_text() == shardwright(*arguments).out
    assert callable(read) and read(file.read_text()) is not None


def test_chakra_is_a_file_a_rank_in_a_folder(tmp_path: Path) -> None:
    outcome = shardwright("graph", REFERENCE, "--format", "chakra", "-o", str(tmp_path / "traces"))
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err == f"wrote 9 files to {tmp_path / 'traces'}\n"
    names = {"groups.json", *(f"step.{rank}.et" for rank in range(8))}
    assert {path.name for path in (tmp_path / "traces").iterdir()} == names
    data = (tmp_path / "traces" / "step.7.et").read_bytes()
    assert wire_metadata(data)["title"].startswith("tp2.dp2.pp2/ep4, 8 GPUs: ")
    found = StepGraph.model_validate_json(shardwright("graph", REFERENCE).out)
    (worker,) = [place for place, worker in enumerate(found.workers) if 7 in worker.ranks]
    due = {node.number: node.operation for node in found.nodes if node.worker == worker}
    assert {node.id: node.name for node in wire_nodes(data)} == due


def test_chakra_without_protobuf_is_one_message_and_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    messages.cache_clear()
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    outcome = shardwright("graph", REFERENCE, "--format", "chakra", "-o", str(tmp_path / "traces"))
    assert outcome.status == 3 and "pip install 'shardwright[chakra]'" in outcome.err
    assert "Traceback" not in outcome.err and not (tmp_path / "traces").exists()


def test_a_layout_of_2048_gpus_is_drawn_and_said_to_be_more_than_there_are() -> None:
    outcome = shardwright("graph", REFERENCE, "--layout", LARGE, "--format", "svg")
    assert outcome.status == 0 and "1024 GPUs" in outcome.out
    assert "2048 GPUs, more than the 16" in outcome.err


def test_experts_of_their_own_need_an_engine_that_has_them() -> None:
    arguments = ("graph", REFERENCE, "--layout", "tp2.pp2+ep4.shared")
    refused = shardwright(*arguments)
    assert refused.status == 2 and "--engine any" in refused.err
    found = StepGraph.model_validate_json(shardwright(*arguments, "--engine", "any").out)
    assert [worker.name for worker in found.workers] == ["stage 0 attention", "stage 1 attention", "experts"]


def test_a_plan_gives_layout_and_schedule(tmp_path: Path) -> None:
    assert shardwright("plan", REFERENCE, "-o", str(tmp_path)).status in (0, 1)
    pool = json.loads((tmp_path / "plan.json").read_text())["pools"][0]
    found = StepGraph.model_validate_json(shardwright("graph", str(tmp_path)).out)
    assert (found.layout, found.schedule.model_dump()) == (pool["layout"], pool["schedule"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layout", "tp2.dp2.pp2/ep4"), "plan: None"),
        (("absent.yaml",), "readable file"),
        ((REFERENCE, "--format", "xml"), "'json', 'dot', 'svg', 'perfetto'"),
        ((REFERENCE, "--format", "chakra"), "--output: None is not allowed; expected a folder"),
        ((REFERENCE, "--format", "chakra", "-o", REFERENCE), "a place that can be written"),
        ((REFERENCE, "--near-ranks", "3"), "a divisor of TP 2"),
        ((REFERENCE, "--micro-batches", "64", "--layout", "tp2.dp4/ep8"), "at most the 32 sequences"),
        ((REFERENCE, "--layout", "tp2.dp2.pp17/ep4"), "pp"),
        ((REFERENCE, "--layout", "TP2-CP4"), "CP"),
    ],
)
def test_bad_input_is_one_message_and_2(arguments: tuple[str, ...], message: str) -> None:
    outcome = shardwright("graph", *arguments)
    assert outcome.status == 2 and message in outcome.err and "Traceback" not in outcome.err
    assert outcome.out == ""


def test_an_overlap_that_the_engine_lacks_is_said() -> None:
    layout = ("--layout", "tp2.dp2.pp2/ep4", "--order", "overlapped")
    lacking = shardwright("graph", REFERENCE, *layout)
    assert lacking.status == 0 and "vLLM offers no overlap for tp2.dp2.pp2/ep4" in lacking.err
    ours = shardwright("graph", REFERENCE, *layout, "--engine", "any")
    assert "offers no overlap" not in ours.err
    found = StepGraph.model_validate_json(
        shardwright(
            "graph", REFERENCE, "--layout", "dp8/ep8", "--order", "overlapped", "--micro-batches", "2"
        ).out
    )
    assert found.schedule.order in ("pipelined", "overlapped")
    assert found.schedule.hides == "exchanges" and found.schedule.exchange == "deepep_low_latency"
