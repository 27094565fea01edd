"""Worker processes that do one task after another, and a parent that sees when one of them is lost.

Workers are forked from a server process that has imported torch and transformers once. A job takes as
many as its layout has ranks. Whatever goes wrong, all workers end, and the next task gets new ones.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from shardwright.errors import InputError, ShardwrightError
from shardwright.run.distributed import SIGN_OF_LIFE_S
from shardwright.run.task import Task
from shardwright.run.worker import Failure, open_store, work

Part = TypeVar("Part")

Told = Callable[[int, str], None]
"""(rank, what it does now)."""

PRELOAD = ["shardwright.run.worker", "shardwright.run.perform", "transformers.models.llama.modeling_llama"]
"""Imported once for all workers: ours, and what all models of transformers need (4 s of CPU)."""

GRACE_S = 0.5
"""After a first failure, how long to listen for one that explains it: peers of a lost rank fail too."""


class RankError(ShardwrightError):
    """A rank of a running layout failed: which, its role, what it was doing, and why."""

    def __init__(self, rank: int, role: str, doing: str, reason: str, *, exit_code: int) -> None:
        self.rank, self.role, self.doing, self.reason = rank, role, doing, reason
        self.exit_code = exit_code
        super().__init__(f"rank {rank} ({role}), {doing}: {reason}")


@dataclass(kw_only=True)
class _Worker:
    """The parent's view of one rank. Times: when it last spoke, when it went on.

    outcome: None while it works, then its part or a Failure.
    """

    rank: int
    process: Any
    pipe: Connection
    doing: str = ""
    heard_s: float = 0.0
    moved_s: float = 0.0
    outcome: Any = None

    def start(self, number: int, task: Task[Any]) -> None:
        self.doing, self.outcome = "starting", None
        self.heard_s = self.moved_s = time.monotonic()
        self.pipe.send((number, task))

    def hear(self) -> None:
        """Take one message: what the rank does (again, while it waits), or how it ended."""
        self.heard_s = time.monotonic()
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(GRACE_S)
            message = Failure(blame=0, reason=f"its process ended ({_exit(self.process.exitcode)})")
        if message != self.doing:
            self.moved_s = self.heard_s
        if isinstance(message, str):
            self.doing = message
        else:
            self.outcome = message


class Pool:
    """At most `num_workers` ranks on this machine; a context manager that leaves no worker behind.

    patience_s: how long a rank may compute, or read weights, without a word; and, with a little more,
    how long all ranks may wait for each other. A task that takes longer so is given up.
    """

    def __init__(self, num_workers: int, *, patience_s: float = 6.0) -> None:
        self.num_workers, self.patience_s = num_workers, patience_s
        self._workers: list[_Worker] = []
        self._store: Any = None
        self._num_tasks = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Of the workers, by rank; none before the first task and after a failed one."""
        return [worker.process.pid for worker in self._workers]

    def run(self, task: Task[Part], told: Told = lambda rank, doing: None) -> list[Part]:
        """Do a task; what each rank hands back, by rank. `told` hears of every request as it happens.

        Raises InputError when the task takes more ranks than there may be workers, and RankError when a
        rank is lost, hangs or raises. After any exception no worker is left.
        """
        num_ranks = task.num_ranks
        if num_ranks > self.num_workers:
            raise InputError("layout", num_ranks, f"at most {self.num_workers} ranks, a worker each")
        if not self._workers:
            self._start()
        self._num_tasks += 1
        ranks = self._workers[:num_ranks]
        try:
            for worker in ranks:
                worker.start(self._num_tasks, task)
            self._listen(ranks, told)
            return [_part(worker, task) for worker in sorted(ranks, key=_blame)]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End every worker at once."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers, self._store = [], None

    def _start(self) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        self._store = open_store()
        for rank in range(self.num_workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(rank, self._store.port, theirs), daemon=True)
            process.start()
            theirs.close()
            self._workers.append(_Worker(rank=rank, process=process, pipe=ours))

    def _listen(self, ranks: list[_Worker], told: Told) -> None:
        """Until every rank has ended, or one has failed and the others had time to say why."""
        failed_s: float | None = None
        while working := {worker.pipe: worker for worker in ranks if worker.outcome is None}:
            for pipe in wait(working, timeout=GRACE_S):
                worker = working[pipe]  # type: ignore[index]
                worker.hear()
                told(worker.rank, worker.doing)
            self._lose_patience(ranks)
            now = time.monotonic()
            if failed_s is None and any(isinstance(worker.outcome, Failure) for worker in ranks):
                failed_s = now
            if failed_s is not None and now - failed_s > GRACE_S:
                return

    def _lose_patience(self, ranks: list[_Worker]) -> None:
        """Give up a rank from which nothing is heard, and all ranks when they wait for each other.

        A rank that hangs has been silent for at most a sign of life less than its peers have waited.
        """
        now = time.monotonic()
        working = [worker for worker in ranks if worker.outcome is None]
        for worker in working:
            if now - worker.heard_s > self.patience_s:
                worker.outcome = Failure(blame=0, reason=f"it hangs: no word for {self.patience_s:g} s")
        limit_s = self.patience_s + 1.5 * SIGN_OF_LIFE_S
        if working and now - max(worker.moved_s for worker in ranks) > limit_s:
            waiting = [f"rank {worker.rank}: {worker.doing}" for worker in working[:16]]
            reason = "\n  ".join([f"deadlock: no rank went on for {limit_s:g} s", *waiting])
            working[0].outcome = working[0].outcome or Failure(blame=1, reason=reason)


def _blame(worker: _Worker) -> int:
    """Failures first, and of these what may have caused the others."""
    return worker.outcome.blame if isinstance(worker.outcome, Failure) else 3


def _part(worker: _Worker, task: Task[Part]) -> Part:
    """What the rank handed back. Raises RankError for a failure."""
    outcome = worker.outcome
    if isinstance(outcome, Failure):
        raise rank_error(task, worker.rank, worker.doing, outcome)
    return cast(Part, outcome)


def rank_error(task: Task[Any], rank: int, doing: str, failure: Failure) -> RankError:
    """The failure of a rank of a task, with the rank's role."""
    return RankError(rank, task.role(rank), doing, failure.reason, exit_code=failure.exit_code)


def _exit(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
