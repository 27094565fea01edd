"""What is asked of a layout at work, and what each of its ranks hands back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shardwright.engine.engine import breaches
from shardwright.engine.shardwright_runtime import SHARDWRIGHT_0_1
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.layout.stages import stage_counts
from shardwright.model.spec import ModelSpec
from shardwright.plan.generation import Sampling
from shardwright.run.network import Kind, Request
from shardwright.run.sampling import GREEDY
from shardwright.run.seat import Members, Seats
from shardwright.run.share import Prompt, Share, deal, num_pieces
from shardwright.run.task import Tell


@dataclass(frozen=True, kw_only=True)
class Job:
    """Prompts to run through one layout of one checkpoint, and how.

    num_tokens: to generate for each prompt. forced: the tokens of every sequence after each step but the
    last; None samples them. stop: tokens that end a sequence; the job ends with its last one.
    chunk_tokens: prompts are prefilled in pieces of at most so many; None in one. batched: the
    micro-batches run in step, their exchanges in one message a peer; else each waits for itself alone.
    device: 'cpu' over gloo, or 'cuda' over NCCL, a GPU a rank.
    """

    folder: Path
    seats: Seats
    prompts: tuple[Prompt, ...]
    num_micro_batches: int
    num_tokens: int
    forced: tuple[dict[int, int], ...] | None = None
    sampling: Sampling = GREEDY
    stop: frozenset[int] = frozenset()
    chunk_tokens: int | None = None
    batched: bool = False
    keeps_logits: bool = True
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    @property
    def num_ranks(self) -> int:
        """Processes that it takes."""
        return self.seats.layout.num_gpus

    def role(self, rank: int) -> str:
        """What a rank is to the layout, in words."""
        seat = self.seats.seat(rank)
        stages = f" of stage {', '.join(map(str, seat.stages))}" if self.seats.layout.pp > 1 else ""
        return f"{seat.role}{stages}"

    def perform(self, rank: int, tell: Tell) -> "RankResult":
        """A rank's part, in an initialised world: perform.py's."""
        from shardwright.run.perform import perform  # noqa: PLC0415 - it knows jobs itself

        return perform(self, rank, tell)

    @property
    def num_prefills(self) -> int:
        """Steps of the prefill."""
        return num_pieces(self.prompts, self.chunk_tokens)

    @property
    def num_steps(self) -> int:
        """Steps in all; the last one of the prefill gives the first token."""
        return self.num_prefills + self.num_tokens - 1

    def shares(self, rank: int) -> list[Share]:
        """The micro-batches of a rank. Raises InputError when there are too few prompts for all."""
        return deal(self.prompts, self.seats.seat(rank), self.num_micro_batches, self.num_prefills)


def seats_of(layout: Layout, model: ModelSpec, near_ranks: int = 1) -> Seats:
    """The ranks of a layout of a model.

    Raises InputError where our runtime cannot split the model so, naming the rule that it breaks.
    """
    broken = breaches(SHARDWRIGHT_0_1, layout, model, None)
    if broken:
        allowed = f"a layout that {model.name} can take: {broken[0].sentence}"
        raise InputError("layout", format_layout(layout), allowed)
    if layout.tp % near_ranks or model.hidden % near_ranks:
        allowed = f"a number that divides tp ({layout.tp}) and the hidden size ({model.hidden})"
        raise InputError("near_ranks", near_ranks, allowed)
    counts = stage_counts(layout, model.num_layers)
    return Seats(model=model, layout=layout, stage_layers=counts, near_ranks=near_ranks)


@dataclass(frozen=True, kw_only=True)
class Performed:
    """A request as it was performed; of all micro-batches (0 stands for them) where they are batched.

    Times are of time.monotonic(), which the ranks of a machine share; in one process, of one moment.
    """

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


def performed(step: int, micro_batch: int, request: Request, posted_s: float, done_s: float) -> Performed:
    """The record of a request."""
    return Performed(
        step=step,
        micro_batch=micro_batch,
        kind=request.kind,
        name=request.name,
        layer=request.layer,
        group=request.group,
        payload_bytes=request.payload_bytes,
        gives=request.gives,
        takes=request.takes,
        posted_s=posted_s,
        done_s=done_s,
    )


@dataclass(frozen=True, kw_only=True)
class RankResult:
    """What one rank hands back; arrays are of numpy.

    tokens: by sequence, as generated; the same from every rank. logits: by token, by sequence, [vocab]
    fp32; from tp rank 0 of each last stage, empty elsewhere. routed: experts chosen [tokens, top-k] by
    (step, micro-batch, layer); from tp rank 0 of each stage. steps_s: when each step began, and the end
    of the last, in time.monotonic().
    """

    rank: int
    tokens: dict[int, list[int]]
    logits: list[dict[int, Any]]
    routed: dict[tuple[int, int, int], Any]
    performed: list[Performed]
    steps_s: list[float]
    num_loaded: int
    weight_bytes: int
    kv_bytes: int
    bytes_read: int
