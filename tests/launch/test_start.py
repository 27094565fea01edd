"""Processes of a launch: started, ready, and nothing of them left, however it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.launch import processes, start
from shardwright.launch.launch import Process
from shardwright.launch.script import url_of
from shardwright.launch.start import EngineFailedError, Running, started, wait_ready

PATIENCE_S = 30.0


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def process(port: int, name: str = "copy0-node0", **changes: object) -> Process:
    values: dict[str, object] = {
        "name": name,
        "replica": 0,
        "node": 0,
        "node_rank": 0,
        "gpus": (0, 1),
        "ranks": (0, 1),
        "environment": {},
        "argv": ("vllm", "serve", "tiny", "--host", "127.0.0.1", "--port", str(port)),
        "host": "127.0.0.1",
        "port": port,
    }
    return Process.model_validate({**values, **changes})


def quiet(line: str) -> None:
    pass


def left_of(members: list[processes.Member]) -> list[int]:
    """Which of these still run, and do not only wait to be asked how they ended."""
    return [identity.pid for identity in processes.living(member.identity for member in members)]


def ready(running: tuple[Running, ...]) -> list[processes.Member]:
    """All processes of servers that are ready, each with a worker."""
    wait_ready(running, "/health", PATIENCE_S, quiet)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        members = [member for each in running for member in processes.session_members(each.leader.pid)]
        if all("Worker_TP1" in each.text() for each in running):
            return members
        time.sleep(0.05)
    raise AssertionError("no worker came up")


def test_it_starts_answers_and_leaves_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    said: list[str] = []
    port = free_port()
    with started([process(port)], tmp_path / "logs", environment) as running:
        seconds = wait_ready(running, "/health", PATIENCE_S, said.append)
        assert running[0].url == f"http://127.0.0.1:{port}"
        with urllib.request.urlopen(f"{running[0].url}/v1/models", timeout=5) as answer:
            assert b"tiny" in answer.read()
        members = ready(running)
        assert len(members) >= 2, "the server and its worker"
        assert all(member.resident_bytes > 0 for member in members)
    assert 0 < seconds < PATIENCE_S
    assert said
    assert all(line.startswith("copy0-node0, ") for line in said)
    assert not left_of(members)
    assert "Worker_TP1" in (tmp_path / "logs" / "copy0-node0.log").read_text()


def test_two_copies_stand_side_by_side(tmp_path: Path, environment: dict[str, str]) -> None:
    launched = [process(free_port()), process(free_port(), name="copy1-node0", replica=1)]
    with started(launched, tmp_path, environment) as running:
        members = ready(running)
        assert len({member.session for member in members}) == 2
    assert not left_of(members)


def test_a_process_has_its_own_environment(tmp_path: Path, environment: dict[str, str]) -> None:
    log = tmp_path / "said"
    log.write_text("(EngineCore pid=7) INFO 11-28 18:10:30 [a.py:1] from the file")
    launched = process(free_port(), environment={"FAKE_LOG": str(log)})
    with started([launched], tmp_path / "logs", environment) as running:
        ready(running)
        assert "from the file" in running[0].text()


def test_a_crash_at_start_says_who_how_and_the_last_words(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with (
        pytest.raises(EngineFailedError) as failed,
        started([process(free_port())], tmp_path, {**environment, "FAKE": "crash"}) as running,
    ):
        wait_ready(running, "/health", PATIENCE_S, quiet)
    message = str(failed.value)
    assert message.startswith("copy0-node0 (node 0, ranks 0, 1) ended with exit status 3 after ")
    assert "ValueError: no such attention backend" in message
    assert failed.value.exit_code == 1


def test_the_other_copy_ends_with_the_one_that_crashes(tmp_path: Path, environment: dict[str, str]) -> None:
    launched = [
        process(free_port()),
        process(free_port(), name="copy1-node0", replica=1, environment={"FAKE": "crash"}),
    ]
    members: list[processes.Member] = []
    with (
        pytest.raises(EngineFailedError, match="copy1-node0"),
        started(launched, tmp_path, environment) as running,
    ):
        members = ready(running[:1])
        wait_ready(running, "/health", PATIENCE_S, quiet)
    assert members
    assert not left_of(members)


def test_a_killed_worker_is_told_with_the_engines_words(tmp_path: Path, environment: dict[str, str]) -> None:
    with (
        pytest.raises(EngineFailedError, match=r"ended with exit status 1(.|\n)*worker died: -9"),
        started([process(free_port())], tmp_path, environment) as running,
    ):
        members = ready(running)
        worker = next(pid for member in members if "time.sleep" in _command(pid := member.identity.pid))
        os.kill(worker, signal.SIGKILL)
        with start.explaining(running):
            raise EngineFailedError("the client saw no more than a closed connection")
    assert not left_of(members)


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_a_killed_server_is_told_by_its_signal(tmp_path: Path, environment: dict[str, str]) -> None:
    with (
        pytest.raises(EngineFailedError, match="was killed by SIGKILL"),
        started([process(free_port())], tmp_path, environment) as running,
    ):
        members = ready(running)
        running[0].leader.kill()
        running[0].leader.wait()
        start.check_alive(running)
    assert not left_of(members), "its worker, too, that nobody told"


def test_what_ignores_sigterm_and_left_the_session_is_ended(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "GRACE_S", 0.3)
    monkeypatch.setattr(processes, "ORPHANS_S", 0.3)
    with started([process(free_port())], tmp_path, {**environment, "FAKE": "stubborn"}) as running:
        members = ready(running)
        assert len({member.session for member in members}) == 2
    assert not left_of(members)


def test_shared_memory_goes_with_those_who_made_it(tmp_path: Path, environment: dict[str, str]) -> None:
    """And what lay there before, weights for all one knows, stays."""
    before = Path(f"/dev/shm/test_start_{os.getpid()}")
    before.write_bytes(bytes(4096))
    time.sleep(0.05)
    fake = {"FAKE": "shares", "FAKE_SHARED": str(before)}
    try:
        with started([process(free_port())], tmp_path, {**environment, **fake}) as running:
            ready(running)
            own = Path(f"/dev/shm/fake_engine_{running[0].leader.pid}")
            assert own.exists()
        assert not own.exists()
        assert before.exists()
    finally:
        before.unlink()


def test_shared_memory_goes_with_those_who_crashed(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "LOOK_S", 0.1)
    before = Path(f"/dev/shm/test_start_{os.getpid()}")
    before.write_bytes(bytes(4096))
    fake = {"FAKE": "shares late", "FAKE_SHARED": str(before)}
    try:
        with (
            pytest.raises(EngineFailedError, match="exit status 4"),
            started([process(free_port())], tmp_path, {**environment, **fake}) as running,
        ):
            wait_ready(running, "/health", PATIENCE_S, quiet)
        assert not Path(f"/dev/shm/fake_engine_{running[0].leader.pid}").exists()
    finally:
        before.unlink()


def test_who_is_never_ready_is_given_up(tmp_path: Path, environment: dict[str, str]) -> None:
    with (
        pytest.raises(EngineFailedError, match=r"copy0-node0 is not ready after 1 s \(--patience\)"),
        started([process(free_port())], tmp_path, {**environment, "FAKE": "silent"}) as running,
    ):
        wait_ready(running, "/health", 1.0, quiet)
    assert running[0].leader.returncode is not None


def test_a_port_that_is_taken_starts_nothing(tmp_path: Path, environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        launched = [process(free_port()), process(port, name="copy1-node0")]
        with (
            pytest.raises(
                EnvironmentLacksError, match=rf"port {port} of 127\.0\.0\.1 cannot be had"
            ) as lacks,
            started(launched, tmp_path / "logs", environment),
        ):
            raise AssertionError("it was started")
    assert lacks.value.exit_code == 3
    assert not (tmp_path / "logs").exists()


def test_an_engine_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(EnvironmentLacksError, match=r"vllm is not installed here.*--engine-path"),
        started([process(free_port())], tmp_path / "logs", {"PATH": str(tmp_path)}),
    ):
        raise AssertionError("it was started")


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "logs").write_text("a file")
    with (
        pytest.raises(InputError, match="log"),
        started([process(free_port())], tmp_path / "logs", environment),
    ):
        raise AssertionError("it was started")


SCRIPT = """
import sys
from pathlib import Path
from shardwright.launch.start import started, wait_ready
from tests.launch.test_start import process
with started([process(int(sys.argv[1]))], Path(sys.argv[2]), {**__import__("os").environ}) as running:
    wait_ready(running, "/health", 30.0, lambda line: None)
    print(running[0].leader.pid, flush=True)
    __import__("time").sleep(60)
"""


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, -signal.SIGINT)]
)
def test_who_ends_us_ends_them(
    tmp_path: Path, environment: dict[str, str], sent: signal.Signals, status: int
) -> None:
    words = [sys.executable, "-c", SCRIPT, str(free_port()), str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as ours:
        assert ours.stdout is not None
        leader = int(ours.stdout.readline())
        members = processes.session_members(leader)
        ours.send_signal(sent)
        assert ours.wait(PATIENCE_S) == status
    assert members
    assert not left_of(members)


@pytest.mark.parametrize(
    ("host", "address"),
    [("::1", "[::1]"), ("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]")],
)
def test_an_api_is_asked_from_its_own_machine(host: str, address: str) -> None:
    assert url_of(host, 80) == f"http://{address}:80"
