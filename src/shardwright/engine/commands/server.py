"""A server of an engine: how its command starts, which flags it takes, and the layout that they make."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

import yaml

from shardwright.cluster.cluster import Cluster
from shardwright.engine.commands.flag import Flag, Value
from shardwright.engine.dialect import Dialect, Outcome
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.stated import Stated
from shardwright.model.spec import ModelSpec

Settings = Mapping[str, Value]
"""What the flags of one command set, by the names in Flag.sets."""


@dataclass(frozen=True)
class Refusal:
    """Flags that contradict each other: the engine stops before it counts ranks."""

    id: str
    sentence: str
    cure: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server and version.

    entries: the words that a command starts with; images: containers that take the flags right away.
    positional: whether the model may stand without a flag. dashes: whether underscores in a name count as
    dashes. abbreviates: whether the beginning of a name is enough. negates: whether --no-x switches --x off.
    files: flags that name a configuration file; file_wins: whether it goes before the command.
    gone: flags and variables that earlier versions had -> what does the same now.
    realise: (the degrees in our terms, what the engine makes of them). refuses: flags that contradict.
    copies_flag: the flag that starts several copies of a layout by one command, '' where none does.
    spans: settings and flags by which a command reaches GPUs of other nodes;
    None where it never says so itself.
    starts_short: whether it starts with a KV cache too small for one request of the longest length.
    """

    dialect: Dialect
    entries: tuple[tuple[str, ...], ...]
    images: tuple[str, ...] = ()
    flags: tuple[Flag, ...]
    positional: bool
    dashes: bool
    abbreviates: bool
    negates: bool
    files: tuple[str, ...]
    file_wins: bool
    gone: Mapping[str, str]
    realise: Callable[[Settings, ModelSpec], tuple[Stated, Outcome]]
    refuses: Callable[[Settings, ModelSpec], tuple[Refusal, ...]]
    copies_flag: Callable[[Layout, ModelSpec, Cluster], str]
    starts_short: bool
    spans: tuple[str, ...] | None
    sequences_of: str
    """What the largest number of sequences is of: 'attention rank' or 'copy'."""

    @property
    def engine(self) -> str:
        """The id of the engine."""
        return self.dialect.engine


@dataclass(frozen=True)
class Known:
    """The names of all flags of one server: `switches` take no value."""

    switches: frozenset[str]
    valued: frozenset[str]

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return self.switches | self.valued


@cache
def known(engine: str) -> Known:
    """The flags in flags.yaml."""
    text = files("shardwright.engine.commands").joinpath("flags.yaml").read_text(encoding="utf-8")
    row = yaml.load(text, Loader=yaml.CSafeLoader)[engine]
    return Known(frozenset(row["switches"].split()), frozenset(row["valued"].split()))


def degree(settings: Settings, name: str, default: int = 1) -> int:
    """A setting that is a count."""
    value = settings.get(name, default)
    assert isinstance(value, int)
    return value


def completed(outcome: Outcome, settings: Settings, redundant: int, variable: str) -> Outcome:
    """The outcome with redundant experts and stated stage layers; `variable` names where these are stated.

    Raises InputError where there are not as many counts as stages.
    """
    layout = outcome.layout
    stage_layers = settings.get("stage_layers", ())
    assert isinstance(stage_layers, tuple)
    if layout is None:
        return outcome
    if layout.pp == 1:
        stage_layers = ()
    elif stage_layers and len(stage_layers) != layout.pp:
        raise InputError(variable, list(stage_layers), f"{layout.pp} counts, one a stage")
    own = {"redundant": redundant if layout.ep > 1 else 0, "stage_layers": stage_layers}
    return replace(outcome, layout=layout.model_copy(update=own))
