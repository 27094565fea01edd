"""Rank processes in which transformers splits a model by itself: its DistributedConfig, over gloo.

Nothing of Shardwright runs in them: `from_pretrained(folder, distributed_config=...)` reads and cuts the
weights, and the hooks that it installs communicate (transformers 5.23.0, src/transformers/distributed/).
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist
import transformers.integrations.accelerate
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.distributed import DistributedConfig
from transformers.utils import logging

LOOPBACK = "127.0.0.1"

PRELOAD = ["torch.distributed.tensor", "transformers.models.llama.modeling_llama", "transformers.distributed"]
"""Imported once, by the server that the processes are forked from."""

Rows = dict[tuple[int, int], list[float]]
"""Logits of the last token [vocab] by (step, sequence)."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A checkpoint, how transformers is to split it, and what it is fed.

    degrees: the arguments of DistributedConfig. shares: by rank, the batches that it is fed one after
    another, of sequences by index. forced: by sequence, the tokens that follow its prompt, one a step.
    """

    folder: Path
    degrees: Mapping[str, Any]
    prompts: tuple[list[int], ...]
    shares: tuple[tuple[tuple[int, ...], ...], ...]
    forced: tuple[list[int], ...]

    @property
    def num_steps(self) -> int:
        """Prefill, and a decode step a forced token."""
        return 1 + len(self.forced[0])


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a rank hands back; of every parameter that it holds (none of another stage), how many elements."""

    logits: Rows
    num_held: dict[str, int]


class NativeError(Exception):
    """What a rank raised, as text, or that nothing was heard of it."""


class Ranks:
    """Processes that take one task after another; a context manager that leaves none behind.

    They are forked from a server. A task takes as many of them as it has shares. When one fails all are
    ended, and the next task gets new ones.
    """

    def __init__(self, num_ranks: int) -> None:
        self.num_ranks = num_ranks
        self._context = get_context("forkserver")
        self.processes: list[Any] = []
        self._pipes: list[Connection] = []
        self._store: Any = None
        self._num_tasks = 0

    def __enter__(self) -> Self:
        # The server starts to import, 5 s of CPU, while the caller goes on.
        self._context.set_forkserver_preload(PRELOAD)
        ensure_running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, task: Task, *, limit_s: float = 30.0) -> list[Seen]:
        """What each rank hands back, by rank. Raises NativeError with the first failure, or after limit_s."""
        if not self.processes:
            self._start()
        self._num_tasks += 1
        end_s = time.monotonic() + limit_s
        pipes, seen = self._pipes[: len(task.shares)], {}
        try:
            for pipe in pipes:
                pipe.send((self._num_tasks, task))
            while waiting := [pipe for pipe in pipes if pipe not in seen]:
                heard = wait(waiting, max(0.0, end_s - time.monotonic()))
                if not heard:
                    raise NativeError(f"{len(waiting)} ranks not heard of within {limit_s:g} s")
                for pipe in waiting:
                    if pipe in heard:
                        seen[pipe] = _answer(pipe)
        except BaseException:
            self.close()
            raise
        return [seen[pipe] for pipe in pipes]

    def close(self) -> None:
        """End all processes at once."""
        for process in self.processes:
            process.kill()
        for process, pipe in zip(self.processes, self._pipes, strict=True):
            process.join()
            pipe.close()
        self.processes, self._pipes, self._store = [], [], None

    def _start(self) -> None:
        self._store = dist.TCPStore(LOOPBACK, 0, is_master=True, wait_for_workers=False)
        for rank in range(self.num_ranks):
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=work, args=(rank, self._store.port, theirs), daemon=True)
            process.start()
            theirs.close()
            self.processes.append(process)
            self._pipes.append(ours)


def _answer(pipe: Connection) -> Seen:
    try:
        answer = pipe.recv()
    except (EOFError, OSError) as error:
        raise NativeError("the process of a rank ended") from error
    if not isinstance(answer, Seen):
        raise NativeError(answer)
    return answer


# --- in the process of a rank --------------------------------------------------------------------


def work(rank: int, port: int, pipe: Connection) -> None:
    """Answer (number, task) with a Seen, or with what was raised, as text; ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    torch.set_num_threads(1)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # it takes the best device there is
    if sys.platform == "linux":  # else gloo looks up the host's own name, which may lead nowhere
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # It asks for accelerate wherever a device is stated; for one device alone it uses nothing of it.
    transformers.integrations.accelerate.is_accelerate_available = lambda: True
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    store = dist.TCPStore(LOOPBACK, port, is_master=False)
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            number, task = pipe.recv()
            own = dist.PrefixStore(f"task {number}", store)
            dist.init_process_group("gloo", store=own, rank=rank, world_size=len(task.shares))
            try:
                pipe.send(perform(task, rank))
            except Exception as error:
                pipe.send(f"{type(error).__name__}: {error}")
                signal.pause()  # peers would fail too if it went, and might be heard first
            dist.destroy_process_group()


def _end_with_parent() -> None:
    """However the parent ends."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@torch.no_grad()
def perform(task: Task, rank: int) -> Seen:
    """Load this rank's part of the model and feed it its batches."""
    model = AutoModelForCausalLM.from_pretrained(
        task.folder,
        distributed_config=DistributedConfig(**task.degrees),
        dtype=torch.float32,
        attn_implementation="eager",
        experts_implementation="eager",
        local_files_only=True,
    ).eval()
    logits: Rows = {}
    for batch in task.shares[rank]:
        logits |= feed(model, task, batch)
    held = {
        name: (weight.to_local() if isinstance(weight, DTensor) else weight).numel()
        for name, weight in model.named_parameters()
    }
    return Seen(logits=logits, num_held=held)


def feed(model: Any, task: Task, batch: Sequence[int]) -> Rows:
    """The prompts of a batch, padded on the left, then the forced tokens one by one: as generate() does."""
    prompts = [task.prompts[i] for i in batch]
    columns = max(map(len, prompts))
    fed_BS = torch.tensor([[0] * (columns - len(prompt)) + prompt for prompt in prompts])
    mask_BL = torch.tensor([[0] * (columns - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    cache, rows = DynamicCache(config=model.config), {}
    for step in range(task.num_steps):
        positions_BL = (mask_BL.cumsum(-1) - 1).clamp(min=0)
        logits_BSV = model(
            fed_BS,
            attention_mask=mask_BL,
            position_ids=positions_BL[:, -fed_BS.shape[1] :],
            past_key_values=cache,
            use_cache=True,
        ).logits
        rows.update({(step, i): row for i, row in zip(batch, logits_BSV[:, -1].tolist(), strict=True)})
        if step + 1 < task.num_steps:
            fed_BS = torch.tensor([[task.forced[i][step]] for i in batch])
            mask_BL = torch.cat([mask_BL, torch.ones_like(fed_BS)], dim=1)
    return rows
