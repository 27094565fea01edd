"""A job done: by one process that plays every rank, or by this rank of an initialised world."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig

from shardwright.run.checkpoint import Checkpoint, load_config
from shardwright.run.distributed import Event, Links, drive
from shardwright.run.job import Job, RankResult, performed
from shardwright.run.modules import build_modules
from shardwright.run.network import Program, Request
from shardwright.run.program import Rank
from shardwright.run.session import Player, chosen_tokens, ended, play_job
from shardwright.run.task import Tell

Perform = Callable[[Job], list[RankResult]]
"""Does a job: one process that plays every rank, a pool of processes, or this one with the others' help."""


def decoder_of(config: PreTrainedConfig) -> nn.Module:
    """The unsharded decoder without memory: what the ranks' modules are cut after."""
    with torch.device("meta"):
        decoder: nn.Module = AutoModelForCausalLM.from_config(config).model
    return decoder


def seat_player(
    job: Job,
    rank: int,
    config: PreTrainedConfig,
    decoder: nn.Module,
    checkpoint: Checkpoint,
    device: torch.device,
) -> Player:
    """One rank with its modules, filled, and its share of the prompts."""
    seat, model = job.seats.seat(rank), job.seats.model
    modules = build_modules(seat, model, config, decoder, checkpoint, device)
    return Player(Rank(seat=seat, model=model, modules=modules, device=device, dtype=job.dtype), job)


def perform_here(job: Job, told: Callable[[int], None] = lambda step: None) -> list[RankResult]:
    """Every rank's part of a job, in this process; by rank. told: the step that begins.

    Raises InputError for a checkpoint or prompts that do not fit.
    """
    config, checkpoint = load_config(job.folder, job.dtype), Checkpoint(job.folder)
    decoder, players, read = decoder_of(config), [], []
    for rank in range(job.seats.layout.num_gpus):
        before = checkpoint.bytes_read
        players.append(seat_player(job, rank, config, decoder, checkpoint, torch.device(job.device)))
        read.append(checkpoint.bytes_read - before)
    play_job(players, job, told)
    return [player.result(num) for player, num in zip(players, read, strict=True)]


@torch.no_grad()
def perform(job: Job, rank: int, tell: Tell) -> RankResult:
    """One rank's part of a job, in an initialised world of the layout's ranks.

    Raises InputError for a checkpoint or prompts that do not fit, LinkError when the network fails.
    """
    device = torch.device(f"cuda:{torch.cuda.current_device()}" if job.device == "cuda" else "cpu")
    tell("meeting the other ranks")
    links = Links(job.seats, rank, 1 if job.batched else job.num_micro_batches)
    tell("reading its weights")
    config = load_config(job.folder, job.dtype)
    checkpoint = Checkpoint(job.folder, told=lambda: tell("reading its weights"))
    player = seat_player(job, rank, config, decoder_of(config), checkpoint, device)
    log = _Log(player, tell)
    _sum_over_all(torch.zeros(1, device=device), "all_loaded", job, links, tell)  # no step is timed with it
    for step in range(job.num_steps):
        log.step = step
        tell(f"step {step} begins")
        drive({index: program for (_, index), program in player.programs(step)}, links, log)
        rows = player.finish(step)
        if step + 1 >= job.num_prefills:
            player.extend(_shared_tokens(job, chosen_tokens(job, step, rows), links, device, tell))
            if ended(player):
                break
    _sum_over_all(torch.zeros(1, device=device), "farewell", job, links, tell)
    return player.result(checkpoint.bytes_read)


@dataclass
class _Log:
    """A Watch that keeps what was performed and says what the rank does."""

    player: Player
    tell: Tell
    step: int = 0
    posted_s: dict[int, float] = field(default_factory=dict)

    def __call__(self, event: Event, micro_batch: int, request: Request) -> None:
        now = time.monotonic()
        if event == "posted":
            self.posted_s[micro_batch] = now
        if event == "done":
            posted_s = self.posted_s[micro_batch]
            self.player.performed.append(performed(self.step, micro_batch, request, posted_s, now))
        does = "computing after" if event == "done" else "in"
        self.tell(f"step {self.step}, micro-batch {micro_batch}, {does} {request}")


def _shared_tokens(
    job: Job, tokens: dict[int, int], links: Links, device: torch.device, tell: Tell
) -> dict[int, int]:
    """Every sequence's next token, told to all ranks by the one that has chosen it."""
    told = torch.zeros(len(job.prompts), dtype=torch.long, device=device)
    for sequence, token in tokens.items():
        told[sequence] = token
    _sum_over_all(told, "next_tokens", job, links, tell)
    return dict(enumerate(told.tolist()))


def _sum_over_all(value: Tensor, name: str, job: Job, links: Links, tell: Tell) -> None:
    """Control traffic, in place: tells all ranks, lets none begin early or leave while others need it."""
    everyone = tuple(range(job.seats.layout.num_gpus))

    def program() -> Program:
        yield Request(kind="all_reduce", name=name, layer=None, group=everyone, tensor=value)

    drive({0: program()}, links, lambda event, index, request: tell(f"in {request}"))
