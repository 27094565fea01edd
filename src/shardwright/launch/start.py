"""A launch on this machine: its processes started, watched until they answer, and always ended."""

import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from shardwright.errors import EnvironmentLacksError, InputError, ShardwrightError
from shardwright.launch.launch import Process
from shardwright.launch.log import last_words, line_of_progress
from shardwright.launch.needs import check_port, program_of
from shardwright.launch.processes import end_sessions, shared_memory
from shardwright.launch.script import url_of

Told = Callable[[str], None]
"""What goes on now, in a line."""

POLL_S = 0.25
LOOK_S = 1.0
"""Between two looks at the memory that processes share: each reads all of their maps."""
ANSWER_S = 2.0
"""How long a server may think about whether it is ready."""

GRACE_S = 20.0
"""From SIGTERM to SIGKILL: vLLM's children were seen to leave within 10 s."""

SETTLE_S = 5.0
"""After a first failure, how long to wait for the process that failed to end and to say why."""

STOPPING = (signal.SIGTERM, signal.SIGHUP)
"""What ends a program without a word, unless it listens."""


class EngineFailedError(ShardwrightError):
    """A process of the engine ended, or does not answer: which, how, and its last words."""

    exit_code = 1


@dataclass(frozen=True, kw_only=True)
class Running:
    """A process of a launch that was started. log: what it and its children print; shared: memory that they
    were seen to share."""

    process: Process
    leader: "subprocess.Popen[bytes]"
    log: Path
    began_s: float
    shared: set[Path] = field(default_factory=set)

    @property
    def url(self) -> str | None:
        """Where its API answers; None where another process of its copy does."""
        return None if self.process.port is None else url_of(self.process.host, self.process.port)

    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_bytes().decode(errors="replace")


@contextmanager
def started(
    processes: Sequence[Process], logs: Path, environment: Mapping[str, str]
) -> Iterator[tuple[Running, ...]]:
    """The processes, each in a session of its own, under `environment` and what it sets itself.

    However the block is left, by SIGTERM and Ctrl-C too, nothing of them is left running. Raises
    EnvironmentLacksError, before any is started, for a missing program and a port that is taken; InputError
    where no log can be written.
    """
    surroundings = [{**environment, **process.environment} for process in processes]
    programs = [
        program_of(process.argv[0], around) for process, around in zip(processes, surroundings, strict=True)
    ]
    for process in processes:
        check_port(process)
    found: list[Running] = []
    began_s = time.time()
    with interrupted_by(STOPPING):
        try:
            for process, program, around in zip(processes, programs, surroundings, strict=True):
                found.append(_start(process, program, around, logs))
            yield tuple(found)
        finally:
            seen = {path for running in found for path in running.shared}
            end_sessions([running.leader for running in found], GRACE_S, began_s, seen)


def wait_ready(running: Sequence[Running], health: str, patience_s: float, told: Told) -> float:
    """Until every API answers; how long that took, in seconds.

    Raises EngineFailedError when a process ends before, or when patience_s have passed.
    """
    began = time.monotonic()
    waiting = [each for each in running if each.url is not None]
    looked_s = began
    while waiting:
        if time.monotonic() - looked_s > LOOK_S:  # those that crash leave it, and do not say what it was
            looked_s = time.monotonic()
            for each in running:
                each.shared.update(shared_memory(each.leader.pid))
        check_alive(running)
        waiting = [each for each in waiting if not answers(f"{each.url}{health}")]
        passed = time.monotonic() - began
        if waiting and passed > patience_s:
            name, words = waiting[0].process.name, last_words(waiting[0].text())
            raise EngineFailedError(
                f"{name} is not ready after {passed:.0f} s (--patience); its last lines:\n{words}"
            )
        if waiting:
            told(f"{waiting[0].process.name}, {passed:.0f} s: {line_of_progress(waiting[0].text())}")
            time.sleep(POLL_S)
    return time.monotonic() - began


def check_alive(running: Sequence[Running]) -> None:
    """Raises EngineFailedError for the first process that has ended."""
    for each in running:
        status = each.leader.poll()
        if status is not None:
            raise EngineFailedError(_how_it_ended(each, status))


@contextmanager
def explaining(running: Sequence[Running]) -> Iterator[None]:
    """Work that asks the engine. Where it fails since a process has ended, that is what is raised.

    An engine that loses a worker ends some time after its clients saw it.
    """
    try:
        yield
    except ShardwrightError:
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            check_alive(running)
            time.sleep(POLL_S)
        raise


def direct() -> urllib.request.OpenerDirector:
    """Opens URLs of this machine's servers, whatever proxy the environment names."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers(url: str) -> bool:
    """Whether a server answers with 200."""
    with suppress(OSError, ValueError), direct().open(url, timeout=ANSWER_S) as answer:
        return bool(answer.status == 200)
    return False


def _start(process: Process, program: str, environment: Mapping[str, str], logs: Path) -> Running:
    log = logs / f"{process.name}.log"
    try:
        logs.mkdir(parents=True, exist_ok=True)
        output = log.open("wb")
    except OSError as error:
        raise InputError("log", str(log), f"a place that can be written ({error.strerror})") from None
    with output:
        try:
            leader = subprocess.Popen(
                [program, *process.argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            raise EnvironmentLacksError(f"{program} cannot be run: {error.strerror}") from None
    return Running(process=process, leader=leader, log=log, began_s=time.monotonic())


def _how_it_ended(running: Running, status: int) -> str:
    if status < 0:
        how = f"was killed by {signal.Signals(-status).name}"
    else:
        how = f"ended with exit status {status}"
    after_s = time.monotonic() - running.began_s
    place = f"{running.process.name} (node {running.process.node}, ranks {_ranks(running.process.ranks)})"
    return f"{place} {how} after {after_s:.0f} s; its last lines:\n{last_words(running.text())}"


def _ranks(ranks: Sequence[int]) -> str:
    if len(ranks) > 2 and list(ranks) == list(range(ranks[0], ranks[-1] + 1)):
        return f"{ranks[0]}-{ranks[-1]}"
    return ", ".join(map(str, ranks))


@contextmanager
def interrupted_by(signals: Sequence[signal.Signals]) -> Iterator[None]:
    """Within, these signals end this process as an exception does: what was begun is ended.

    Only the main thread hears signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {each: signal.signal(each, leave) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
