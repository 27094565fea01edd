"""What starts one copy of a layout on an engine: what is asked for, and the words that ask for it.

Each engine has a table of what it is told (`Say`: a flag, what it says, where that is documented) beside
the flags of its layouts; `spoken` is the one interpreter.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from shardwright.engine.engine import ExchangeMode
from shardwright.engine.tuning import Tuning
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.model.spec import ModelSpec
from shardwright.record import Count, CountOrZero, Record

HEAD_ADDRESS = "HEAD_NODE_ADDRESS"
"""Stands for the address of the first node of a copy, which no plan knows."""

CHECKPOINT = "CHECKPOINT_FOLDER"
"""Stands for the folder of the weights, for an engine that fetches none."""

PLACEHOLDERS = {
    HEAD_ADDRESS: "the address of node {first}, where the first ranks of this copy are",
    CHECKPOINT: "the folder with config.json and the safetensors of the model",
}
"""Variables of a script that an argument can name: what to set each to."""

Executor = Literal["mp", "ray"]
"""How ranks of other nodes are reached: by a process started on each node, or by a Ray cluster that runs."""


class Place(Record):
    """Where one of the processes of a copy stands, among how many.

    head: address of the copy's first node. host, port: where its API listens; None leaves both to the engine.
    role: which of the servers of a copy, where it has several. index: of the copy among those of its node.
    """

    nodes: Count = 1
    node_rank: CountOrZero = 0
    head: str = "127.0.0.1"
    host: str | None = None
    port: Count | None = None
    executor: Executor = "mp"
    role: str = ""
    index: CountOrZero = 0


class Start(Record):
    """One copy of `layout`, and what is set of the engine. tuning.max_sequences is of one attention rank.

    overlap: whether micro-batches overlap, by the engine's own switch. micro_batches, near_ranks, batched:
    the rest of the schedule, for an engine that is told of it.
    """

    layout: Layout
    model: ModelSpec
    max_model_len: Count
    tuning: Tuning = Tuning()
    overlap: bool = False
    micro_batches: Count = 1
    near_ranks: Count = 1
    batched: bool = False
    place: Place = Place()


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """argv, the environment that it needs, and files beside it (name -> text), which argv names."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def line(self) -> tuple[str, ...]:
        """argv under env(1) with its environment: one command line that says it all, but for the files."""
        settings = (f"{name}={value}" for name, value in self.environment.items())
        return ("env", *settings, *self.argv) if self.environment else self.argv


Said = str | int | float | bool | None
"""The value of a flag; True for a switch that is on, None or False for a flag that is left out."""


@dataclass(frozen=True, kw_only=True)
class Say:
    """A row: the flag, and its value for a start. `source`: file below the engine's package."""

    flag: str
    value: Callable[[Start], Said]
    source: str


def spoken(rows: tuple[Say, ...], start: Start) -> list[str]:
    """The words of the rows that say something of `start`, in their order."""
    words: list[str] = []
    for row in rows:
        value = row.value(start)
        if value is None or value is False:
            continue
        words += [row.flag] if value is True else [row.flag, str(value)]
    return words


def stage_layers(variable: str, layout: Layout) -> dict[str, str]:
    """The variable that holds the layers of each stage, where the layout states them."""
    return {variable: ",".join(map(str, layout.stage_layers))} if layout.stage_layers else {}


def exchange_name(start: Start, names: Mapping[ExchangeMode, str], engine: str) -> str | None:
    """What the engine calls the exchange that is asked for; None where none is.

    Raises InputError where it has none such.
    """
    wanted = start.tuning.exchange
    if wanted is None or start.layout.ep == 1:
        return None
    if wanted not in names:
        raise InputError("exchange", wanted, f"one that {engine} has: {', '.join(names)}")
    return names[wanted]


def online_name(start: Start, names: Mapping[str, str]) -> str | None:
    """What the engine calls the weight format that it makes itself at start; None where the checkpoint is
    stored so, or in 16 bits."""
    model = start.model
    alike = model.expert_dtype == model.weight_dtype
    return names.get(model.weight_dtype) if alike and not model.quantised else None
