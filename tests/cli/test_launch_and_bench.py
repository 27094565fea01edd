"""shardwright launch --check and bench, with an engine that replays what vLLM printed (tests/launch)."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from shardwright.calibrate.measured.row import read_rows
from shardwright.launch.check import Check
from shardwright.launch.compare import Bench
from shardwright.launch.processes import Identity, living, session_members
from tests.cli.run import shardwright
from tests.launch import fake_engine
from tests.launch.test_realised import LOGS
from tests.launch.test_start import free_port
from tests.launch.tiny_plans import deployment_file

OF_TP2_EP2 = LOGS / "vllm-0.32-tp2ep.log"


@pytest.fixture
def start(engine_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Options of a start; the engine says that it runs TP 2 with EP."""
    monkeypatch.setenv("FAKE_LOG", str(OF_TP2_EP2))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # where nobody listens: it is not asked
    return ("--engine-path", str(engine_path), "--port", str(free_port()))


def test_a_launch_that_realises_its_plan_is_met(tmp_path: Path, start: tuple[str, ...]) -> None:
    outcome = shardwright("launch", str(deployment_file(tmp_path, "tp2/ep2")), "--check", "--json", *start)
    assert outcome.status == 0, outcome
    found = Check.model_validate_json(outcome.out)
    assert found.met
    assert found.startup_s is not None
    assert [answer.tokens for answer in found.answers] == [tuple(fake_engine.ANSWER)] * 2
    drawn = shardwright("launch", str(deployment_file(tmp_path, "tp2/ep2")), "--check", *start)
    assert drawn.status == 0
    assert "The engine runs the plan" in drawn.out
    assert "not compared" in drawn.out


def test_a_launch_that_realises_another_layout_is_not(tmp_path: Path, start: tuple[str, ...]) -> None:
    outcome = shardwright("launch", str(deployment_file(tmp_path, "dp2/ep2")), "--check", *start)
    assert outcome.status == 1
    assert "does NOT run the plan" in outcome.out
    assert "DIFFERS" in outcome.out


def test_logs_are_kept_where_they_are_asked_for(tmp_path: Path, start: tuple[str, ...]) -> None:
    file = deployment_file(tmp_path, "tp2/ep2")
    assert shardwright("launch", str(file), "--check", "--logs", str(tmp_path / "logs"), *start).status == 0
    assert OF_TP2_EP2.read_text() in (tmp_path / "logs" / "copy0-node0.log").read_text()


@pytest.mark.parametrize(
    ("fake", "status", "words"),
    [
        ("crash", 1, "ended with exit status 3"),
        ("refuse", 1, "answers 500"),
    ],
)
def test_an_engine_that_fails_is_one_message(
    tmp_path: Path,
    start: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    fake: str,
    status: int,
    words: str,
) -> None:
    monkeypatch.setenv("FAKE", fake)
    monkeypatch.setattr("shardwright.launch.start.SETTLE_S", 0.1)
    outcome = shardwright("launch", str(deployment_file(tmp_path, "tp2/ep2")), "--check", *start)
    assert outcome.status == status
    assert outcome.err.startswith("shardwright: ")
    assert words in outcome.err
    assert "Traceback (most recent call last):\n  File" not in outcome.err
    assert outcome.out == ""


def test_an_engine_that_is_not_read_back_is_not_started(tmp_path: Path, start: tuple[str, ...]) -> None:
    file = str(deployment_file(tmp_path, "tp2/ep2", engine="sglang"))
    outcome = shardwright("launch", file, "--check", *start)
    assert (outcome.status, "--check: 'sglang' is not allowed" in outcome.err) == (2, True)


@contextmanager
def serving(file: Path, start: tuple[str, ...]) -> Iterator[tuple["subprocess.Popen[str]", set[Identity]]]:
    """`launch --start` in a process of its own, once it serves, and all that runs under it."""
    words = [sys.executable, "-m", "shardwright.cli.main", "launch", str(file), "--start", *start]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as ours:
        assert ours.stderr is not None
        said = ours.stderr.readline()
        assert "serves at http://127.0.0.1:" in said, said
        members = {member.identity for member in session_members(ours.pid)} - {identity_of(ours.pid)}
        assert len(members) >= 2
        yield ours, members


def identity_of(pid: int) -> Identity:
    return next(member.identity for member in session_members(pid) if member.identity.pid == pid)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_start_serves_until_it_is_interrupted(
    tmp_path: Path, start: tuple[str, ...], sent: signal.Signals, status: int
) -> None:
    with serving(deployment_file(tmp_path, "tp2/ep2"), start) as (ours, members):
        assert ours.poll() is None
        assert living(members) == members
        ours.send_signal(sent)
        assert ours.wait(30) == status
        assert not living(members)


def test_a_start_ends_with_its_engine(tmp_path: Path, start: tuple[str, ...]) -> None:
    with serving(deployment_file(tmp_path, "tp2/ep2"), start) as (ours, members):
        server = min(members)
        os.kill(server.pid, signal.SIGKILL)
        assert ours.wait(30) == 1
        assert ours.stderr is not None
        assert "copy0-node0 (node 0, ranks 0, 1) was killed by SIGKILL" in ours.stderr.read()
        assert not living(members)


def test_a_missing_engine_and_a_busy_port_are_the_environments(
    tmp_path: Path, start: tuple[str, ...]
) -> None:
    file = str(deployment_file(tmp_path, "tp2/ep2"))
    (empty := tmp_path / "empty").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(empty))
        missing = shardwright("launch", file, "--start", "--engine-path", str(empty))
    assert (missing.status, "vllm is not installed here" in missing.err) == (3, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        busy = shardwright("launch", file, "--check", *start[:2], "--port", port)
    assert (busy.status, f"port {port} of 127.0.0.1 cannot be had" in busy.err) == (3, True)


def test_a_bench_keeps_a_row_that_validate_and_calibrate_read(tmp_path: Path, start: tuple[str, ...]) -> None:
    file, rows = deployment_file(tmp_path, "tp2/ep2"), tmp_path / "rows.csv"
    options = ("--rows", str(rows), "--requests", "8", "-o", str(tmp_path / "bench.json"), "--json")
    outcome = shardwright("bench", str(file), *options, *start)
    assert outcome.status == 0, outcome
    found = Bench.model_validate_json(outcome.out)
    assert found == Bench.model_validate_json((tmp_path / "bench.json").read_text())
    assert found.check is not None
    assert found.check.met
    assert (found.measured.completed, found.predicted) == (8, None)
    (kept,) = read_rows(rows)
    assert (kept.row_id, kept.tp, kept.ep, kept.noted("requests")) == (found.row_id, 2, 2, "8")
    validated = shardwright("validate", str(rows), "--json")
    assert validated.status == 0
    (row,) = json.loads(validated.out)["rows"]
    assert row["row_id"] == found.row_id


def test_what_is_not_predicted_is_said(tmp_path: Path, start: tuple[str, ...]) -> None:
    file, rows = deployment_file(tmp_path, "tp2/ep2"), tmp_path / "rows.csv"
    outcome = shardwright("bench", str(file), "--rows", str(rows), "--rate", "5", "--requests", "8", *start)
    assert outcome.status == 0, outcome
    assert "There is no prediction beside it: no operator was measured on cpu" in " ".join(
        outcome.out.split()
    )
    assert "predicted /" not in outcome.out


def test_a_load_is_drawn_anew_unless_its_seed_is_stated(
    tmp_path: Path, engine_path: Path, server: str
) -> None:
    file, rows = str(deployment_file(tmp_path, "tp2/ep2")), tmp_path / "rows.csv"
    options = ("--url", server, "--rows", str(rows), "--engine-path", str(engine_path))
    for stated in ((), (), ("--seed", "7")):
        assert shardwright("bench", file, *options, *stated).status == 0
    one, other, seventh = (row.noted("seed") for row in read_rows(rows))
    assert one != other
    assert seventh == "7"


def test_nothing_is_measured_of_another_layout(tmp_path: Path, start: tuple[str, ...]) -> None:
    rows = tmp_path / "rows.csv"
    outcome = shardwright("bench", str(deployment_file(tmp_path, "dp2/ep2")), "--rows", str(rows), *start)
    assert outcome.status == 1
    assert "does NOT run the plan" in outcome.out
    assert not rows.exists()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One that runs already."""
    monkeypatch.setattr("sys.argv", ["vllm", "serve", "tiny"])
    found = ThreadingHTTPServer(("127.0.0.1", 0), fake_engine.Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()


def test_a_server_that_runs_is_measured_beside_its_prediction(
    tmp_path: Path,
    engine_path: Path,
    server: str,
) -> None:
    cluster = {"gpu": "H100", "nodes": 1, "gpus_per_node": 2}
    file, rows = deployment_file(tmp_path, "tp2/ep2", cluster=cluster), tmp_path / "rows.csv"
    options = ("--url", server + "/", "--rows", str(rows), "--engine-path", str(engine_path))
    outcome = shardwright("bench", str(file), *options, "--json")
    assert outcome.status == 0, outcome
    found = Bench.model_validate_json(outcome.out)
    assert (found.url, found.check) == (server, None)
    assert found.predicted is not None
    assert found.predicted.outcome.num_requests == found.measured.completed == 40
    drawn = shardwright("bench", str(file), *options)
    assert "predicted / measured" in " ".join(drawn.out.split())
    assert "H100-SXM-80GB by the plan" in (read_rows(rows)[0].notes)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_client_ends_with_its_bench(
    tmp_path: Path,
    engine_path: Path,
    server: str,
    monkeypatch: pytest.MonkeyPatch,
    sent: signal.Signals,
    status: int,
) -> None:
    noted = tmp_path / "client"
    monkeypatch.setenv("FAKE", "lasting")
    monkeypatch.setenv("FAKE_CLIENT", str(noted))
    words = [
        "bench",
        str(deployment_file(tmp_path, "tp2/ep2")),
        "--url",
        server,
        "--engine-path",
        engine_path,
    ]
    with subprocess.Popen([sys.executable, "-m", "shardwright.cli.main", *words]) as ours:
        deadline = time.monotonic() + 60
        while not (noted.exists() and noted.read_text().endswith("\n")) and time.monotonic() < deadline:
            time.sleep(0.05)
        client, worker = map(identity_of, map(int, noted.read_text().split()))
        assert living([client, worker]) == {client, worker}
        ours.send_signal(sent)
        assert ours.wait(30) == status
    assert not living([client, worker])
    assert not (tmp_path / "measured.csv").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rows", "file/rows.csv"), "--rows: 'file/rows.csv' is not allowed; expected a place that can be"),
        (
            ("--rows", "folder"),
            "--rows: 'folder' is not allowed; expected a place that can be written (Is a d",
        ),
        (("--rows", "file"), "expected a new file, or one whose columns are those that bench writes"),
        (("-o", "folder"), "--output: 'folder' is not allowed"),
    ],
)
def test_what_cannot_be_kept_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    """Nobody is asked: no server stands there."""
    file = deployment_file(tmp_path, "tp2/ep2")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a,b\n1,2\n")
    (tmp_path / "folder").mkdir()
    outcome = shardwright("bench", str(file), "--url", f"http://127.0.0.1:{free_port()}", *options)
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert words in outcome.err
    assert (tmp_path / "file").read_text() == "a,b\n1,2\n"


def test_a_server_that_is_not_there_is_one_message(tmp_path: Path, engine_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    options = ("--url", url, "--engine-path", str(engine_path))
    outcome = shardwright("bench", str(deployment_file(tmp_path, "tp2/ep2")), *options)
    assert outcome.status == 3
    assert f"no server answers at {url}" in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "sglang"), "--engine: 'sglang' is not allowed"),
        (("--rate", "1", "--concurrency", "2"), "nothing beside"),
        (("--burstiness", "2"), "nothing but beside --rate"),
        (("--engine", "vllm", "--output-tokens", "300"), "together at most max_model_len 256"),
        (("--url", "file:///etc"), "url: 'file:///etc' is not allowed"),
    ],
)
def test_what_contradicts_is_refused(tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    outcome = shardwright("bench", str(deployment_file(tmp_path, "tp2/ep2", engine="any")), *options)
    assert outcome.status == 2
    assert words in outcome.err
