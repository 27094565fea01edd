"""A worker process: has its rank in one task after another, and ends with its parent."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from shardwright.errors import ShardwrightError
from shardwright.run.distributed import LinkError
from shardwright.run.task import Task

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}

LOOPBACK = "127.0.0.1"

Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How a rank ended. blame: 0 it was lost, 1 by its own fault, 2 the network failed under it."""

    blame: int
    reason: str
    exit_code: int = 1


def open_store() -> Any:
    """Where the workers of one parent meet, on a free port of this machine; the parent holds it."""
    return dist.TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]


def work(rank: int, port: int, pipe: Connection) -> None:
    """Take (number, task) from the pipe; answer with words on the way, and the rank's part or a Failure."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    torch.set_num_threads(1)
    if sys.platform == "linux":  # else gloo looks up the host's own name, which may lead nowhere
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = dist.TCPStore(LOOPBACK, port, is_master=False)  # type: ignore[attr-defined]
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            number, task = pipe.recv()
            own = dist.PrefixStore(f"task {number}", store)  # type: ignore[attr-defined]
            pipe.send(_serve(task, rank, own, pipe))


def _serve(task: Task[Part], rank: int, store: Any, pipe: Connection) -> Part | Failure:
    """The task in a world of its own, which is gone after it."""

    def served() -> Part:
        if task.device == "cuda":
            torch.cuda.set_device(rank)
        dist.init_process_group(
            BACKENDS[task.device],
            store=store,
            rank=rank,
            world_size=task.num_ranks,
            timeout=timedelta(days=1),  # the parent keeps the time: a rank may wait long for a slow peer
        )
        part = task.perform(rank, pipe.send)
        dist.destroy_process_group()
        return part

    return attempt(served)


def attempt(work: Callable[[], Part]) -> Part | Failure:
    """What the work of a rank gives, or how it failed."""
    try:
        return work()
    except LinkError as error:
        return Failure(blame=2, reason=str(error))
    except ShardwrightError as error:
        return Failure(blame=1, reason=str(error), exit_code=error.exit_code)
    except Exception as error:
        return Failure(blame=1, reason=f"{type(error).__name__}: {error}")


def _end_with_parent() -> None:
    """However the parent ends."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
