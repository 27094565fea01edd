"""A layout at work in real processes: what is asked of every rank, and what one rank does and hands back."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from shardwright.run.checkpoint import Checkpoint, load_config
from shardwright.run.distributed import Event, Links, drive
from shardwright.run.modules import build_modules
from shardwright.run.network import Kind, Program, Request
from shardwright.run.program import Rank
from shardwright.run.seat import Members, Seats
from shardwright.run.session import Player, Prompt, deal

Tell = Callable[[str], None]
"""Says what the rank does now, in words; told at least once a second while the rank waits for others."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Prompts to run through one layout of one checkpoint.

    forced: after each step but the last, the next token of every sequence; None lets each sequence
    follow its own most likely token. device: 'cpu' over gloo, or 'cuda' over NCCL, a GPU a rank.
    """

    folder: Path
    seats: Seats
    prompts: tuple[Prompt, ...]
    num_micro_batches: int
    num_steps: int
    forced: tuple[dict[int, int], ...] | None = None
    dtype: torch.dtype = torch.float32
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Performed:
    """A request as it was performed. Times are of time.monotonic(), which the ranks of a machine share."""

    step: int
    micro_batch: int
    kind: Kind
    name: str
    layer: int | None
    group: Members
    payload_bytes: int
    gives: tuple[int, ...]
    takes: tuple[int, ...]
    posted_s: float
    done_s: float


@dataclass(frozen=True, kw_only=True)
class RankResult:
    """What one rank hands back.

    logits: by step, by sequence, [vocab] fp32; from tp rank 0 of each last stage, empty elsewhere.
    routed: experts chosen [tokens, top-k] by (step, micro-batch, layer); from tp rank 0 of each stage.
    """

    rank: int
    logits: list[dict[int, Any]]
    routed: dict[tuple[int, int, int], Any]
    performed: list[Performed]
    num_loaded: int
    weight_bytes: int
    kv_bytes: int
    bytes_read: int


@dataclass
class _Log:
    """A Watch that keeps what was performed and says what the rank does."""

    tell: Tell
    step: int = 0
    performed: list[Performed] = field(default_factory=list)
    posted_s: dict[int, float] = field(default_factory=dict)

    def __call__(self, event: Event, micro_batch: int, request: Request) -> None:
        if event == "posted":
            self.posted_s[micro_batch] = time.monotonic()
        if event == "done":
            self.performed.append(self._row(micro_batch, request))
        does = "computing after" if event == "done" else "in"
        self.tell(f"step {self.step}, micro-batch {micro_batch}, {does} {request}")

    def _row(self, micro_batch: int, request: Request) -> Performed:
        return Performed(
            step=self.step,
            micro_batch=micro_batch,
            kind=request.kind,
            name=request.name,
            layer=request.layer,
            group=request.group,
            payload_bytes=request.payload_bytes,
            gives=request.gives,
            takes=request.takes,
            posted_s=self.posted_s[micro_batch],
            done_s=time.monotonic(),
        )


@torch.no_grad()
def perform(job: Job, rank: int, tell: Tell) -> RankResult:
    """One rank's part of a job, in an initialised world of the layout's ranks.

    Raises InputError for a checkpoint or prompts that do not fit, LinkError when the network fails.
    """
    seats, device = job.seats, torch.device(f"cuda:{rank}" if job.device == "cuda" else "cpu")
    tell("meeting the other ranks")
    links = Links(seats, rank, job.num_micro_batches)
    tell("reading its weights")
    checkpoint, seat = Checkpoint(job.folder), seats.seat(rank)
    config = load_config(job.folder, job.dtype)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config).model
    modules = build_modules(seat, seats.model, config, skeleton, checkpoint, device)
    place = Rank(seat=seat, model=seats.model, modules=modules, device=device, dtype=job.dtype)
    player = Player(place, list(job.prompts), deal(len(job.prompts), seats, job.num_micro_batches))
    log, logits = _Log(tell), []
    for step in range(job.num_steps):
        log.step = step
        tell(f"step {step} begins")
        drive({index: program for (_, index), program in player.programs(step)}, links, log)
        logits.append(player.logits(step))
        if step + 1 < job.num_steps:
            player.feed(job.forced[step] if job.forced else _own_tokens(job, logits[-1], links, device, tell))
    _sum_over_all(torch.zeros(1, device=device), "farewell", job, links, tell)
    return RankResult(
        rank=rank,
        logits=[{i: row.cpu().numpy() for i, row in rows.items()} for rows in logits],
        routed={key: ids.cpu().numpy() for key, ids in place.routed.items()},
        performed=log.performed,
        num_loaded=modules.num_loaded,
        weight_bytes=modules.weight_bytes,
        kv_bytes=player.kv_bytes,
        bytes_read=checkpoint.bytes_read,
    )


def _own_tokens(
    job: Job, logits: dict[int, Tensor], links: Links, device: torch.device, tell: Tell
) -> dict[int, int]:
    """Every sequence's most likely token, told to all ranks by the one that has its logits."""
    tokens = torch.zeros(len(job.prompts), dtype=torch.long, device=device)
    for sequence, row in logits.items():
        tokens[sequence] = row.argmax()
    _sum_over_all(tokens, "next_tokens", job, links, tell)
    return dict(enumerate(tokens.tolist()))


def _sum_over_all(value: Tensor, name: str, job: Job, links: Links, tell: Tell) -> None:
    """Control traffic, in place; the last one keeps a rank from leaving while others still need it."""
    everyone = tuple(range(job.seats.layout.num_gpus))

    def program() -> Program:
        yield Request(kind="all_reduce", name=name, layer=None, group=everyone, tensor=value)

    drive({0: program()}, links, lambda event, index, request: tell(f"in {request}"))
