"""How the micro-batches of a step share the GPUs, and the forms that their collectives take."""

from typing import Annotated, Literal

from pydantic import Field

from shardwright.engine.engine import ExchangeMode, Hides
from shardwright.record import Count, Record

Order = Literal["serial", "pipelined", "overlapped"]


class Schedule(Record):
    """serial: one micro-batch after the other, through all stages.

    pipelined: a stage takes its micro-batches one after the other, and waits for their communication.
    overlapped: a GPU computes for one micro-batch while another's rows are on their way; on folded layouts
    known as two-batch (dual-batch) overlap, between attention and expert GPUs as ping-pong. It may compute
    beside any communication, or beside exchanges of tokens with experts alone (`hides`).
    exchange: how tokens reach experts; None as the engine does by default. near_ranks: neighbours of a TP
    group that sum first (hierarchical all-reduce); 1 is flat. batched: the micro-batches run in step and
    share the messages of an exchange.
    interference: share of its speed that computing loses while its GPU is in a collective or an exchange.
    """

    order: Order = "pipelined"
    micro_batches: Count = 1
    hides: Hides = "all"
    exchange: ExchangeMode | None = None
    near_ranks: Count = 1
    batched: bool = False
    interference: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Steady(Record):
    """Decode without end under a schedule. step_s: from a sequence's token to its next.

    exposed, busy: share of its time in which the average GPU waits for communication alone, and in which it
    communicates at all.
    """

    schedule: Schedule
    step_s: float
    exposed: float
    busy: float


EXCHANGES: dict[ExchangeMode, str] = {
    "gather": "tokens gathered and reduce-scattered",
    "all_to_all": "rows sent to their experts",
    "deepep": "rows sent by DeepEP",
    "deepep_normal": "rows sent by DeepEP's normal kernels",
    "deepep_low_latency": "rows sent by DeepEP's low-latency kernels",
}


def in_words(schedule: Schedule) -> str:
    """The schedule as reports name it.

    >>> in_words(Schedule(order="overlapped", micro_batches=2, near_ranks=4))
    'overlapped, 2 micro-batches, hierarchical sums (4 near)'
    """
    said = [schedule.order, f"{schedule.micro_batches} micro-batch{'es' * (schedule.micro_batches > 1)}"]
    if schedule.near_ranks > 1:
        said.append(f"hierarchical sums ({schedule.near_ranks} near)")
    if schedule.batched:
        said.append("batched exchanges")
    if schedule.exchange is not None:
        said.append(EXCHANGES[schedule.exchange])
    return ", ".join(said)
