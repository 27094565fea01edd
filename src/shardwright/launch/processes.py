"""The processes of one session: who is in it, and its end. Linux alone: they are read from /proc (proc(5)).

An engine's workers are no children of ours, and its leader may end before them. They are known by the
session that the leader was started in, and, where they left it, by descent.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")

SHARED = Path("/dev/shm")

POLL_S = 0.05

ORPHANS_S = 3.0
"""From SIGTERM to SIGKILL, for those whose leader has gone."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Identity(NamedTuple):
    """A process and no later one of its number. started: in clock ticks since boot."""

    pid: int
    started: int


class Member(NamedTuple):
    """A process as it stands."""

    identity: Identity
    parent: int
    session: int
    resident_bytes: int


def session_members(leader: int) -> list[Member]:
    """The living processes of the session that `leader` leads or led, and those that descend from them."""
    everyone = {member.identity.pid: member for entry in PROC.glob("[0-9]*") if (member := _read(entry))}
    found = {pid for pid, member in everyone.items() if leader in (member.session, pid)}
    while True:
        more = {pid for pid, member in everyone.items() if member.parent in found} - found
        if not more:
            return [everyone[pid] for pid in sorted(found)]
        found |= more


def shared_memory(leader: int) -> set[Path]:
    """The objects of shared memory (shm_overview(7)) that the processes of a session map."""
    return {path for member in session_members(leader) for path in _mapped(member.identity.pid)}


def end_sessions(
    leaders: Sequence["subprocess.Popen[bytes]"],
    grace_s: float,
    since_s: float,
    seen: Iterable[Path] = (),
) -> None:
    """End the sessions of these processes: SIGTERM to the leaders, which end their own; where they have gone,
    or after grace_s, SIGTERM to all that is left, and soon SIGKILL. since_s: when they were started, by the
    clock of the system. seen: shared memory of theirs that was seen while they ran.

    Returns when nothing of them is left, also of processes that left their session, and of the shared memory
    that they made: who is killed does not remove its own. An interrupt cuts the grace short.
    """
    known: set[Identity] = set()
    shared = set(seen)

    def left() -> set[Identity]:
        for leader in leaders:
            known.update(member.identity for member in session_members(leader.pid))
            shared.update(shared_memory(leader.pid))
        return living(known)

    own = {leader.pid for leader in leaders}
    try:
        _send({each for each in left() if each.pid in own}, signal.SIGTERM)
        _wait(lambda: not any(each.pid in own for each in left()), grace_s)
        _send(left(), signal.SIGTERM)
        _wait(lambda: not left(), ORPHANS_S)
    finally:
        while remaining := left():
            _send(remaining, signal.SIGKILL)
            time.sleep(POLL_S)
        for leader in leaders:
            leader.wait()
        _remove(shared, since_s)


def available_bytes() -> int | None:
    """Memory that processes can have without swapping; None where the system does not say."""
    try:
        lines = (PROC / "meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def living(members: Iterable[Identity]) -> set[Identity]:
    """Which of these still run."""
    return {
        member
        for member in members
        if (now := _read(PROC / str(member.pid))) is not None and now.identity == member
    }


def _mapped(pid: int) -> set[Path]:
    """Files of SHARED itself that a process maps."""
    try:
        lines = (PROC / str(pid) / "maps").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    paths = (Path(line.split(maxsplit=5)[5]) for line in lines if f" {SHARED}/" in line)
    return {path for path in paths if path.parent == SHARED}


def _remove(shared: Iterable[Path], since_s: float) -> None:
    """What was made since then, and nobody maps now: a file that lay there before is somebody's."""
    made = set()
    for path in shared:
        with suppress(OSError):
            if path.stat().st_ctime >= since_s:
                made.add(path)
    if made:
        used = {path for entry in PROC.glob("[0-9]*") for path in _mapped(int(entry.name))}
        for path in made - used:
            path.unlink(missing_ok=True)


def _wait(over: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not over() and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _send(members: Iterable[Identity], what: signal.Signals) -> None:
    for member in members:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(member.pid, what)


def _read(entry: Path) -> Member | None:
    """None for a process that has gone, or that only waits to be asked how it ended."""
    try:
        text = (entry / "stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    # The name, in parentheses, may hold anything.
    state, parent, _, session, *rest = text.rpartition(")")[2].split()
    if state in ("Z", "X"):
        return None
    identity = Identity(int(entry.name), int(rest[15]))
    return Member(identity, int(parent), int(session), int(rest[17]) * PAGE_BYTES)
