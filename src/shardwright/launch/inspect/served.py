"""What an engine's server offers to read: where its metrics stand and how they are named."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from shardwright.launch.inspect.inspection import Said
from shardwright.launch.inspect.metrics import Samples, whole
from shardwright.launch.inspect.site import Site

LONGEST_TEXT = 200
"""Characters that are kept of what a server says."""


Cards = tuple[Mapping[str, object], ...]
"""Of the models that a server has."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """The samples of one engine, "" where it has none. rank: the label that tells attention ranks apart."""

    rank: str
    running: str
    waiting: str
    kv_usage: str
    ttft: str
    tpot: str
    itl: str = ""
    prompt_tokens: str
    output_tokens: str
    preemptions: str = ""
    prefix_hits: str
    prefix_queries: str
    """Prompt tokens that were looked up in the cache."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """One engine's server. owner: of its model cards (GET /v1/models). why_not: why the page of metrics may
    be missing. said: what it states of itself, given its model cards and its samples."""

    engine: str
    title: str
    owner: str
    prefix: str
    metrics: str
    why_not: str
    names: Names
    said: Callable[[Site, Cards, Samples], Said]
    sources: Mapping[str, str] = field(default_factory=dict)


def within(document: object, *path: str) -> object:
    """The value below these keys; None where the document is of another make."""
    for key in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(key)
    return document


def number(document: object, *path: str) -> int | None:
    """The whole number below these keys."""
    return whole(within(document, *path))


def share(document: object, *path: str) -> float | None:
    """The share from 0 to 1 below these keys, stated as a number or as its text."""
    found = within(document, *path)
    try:
        value = float(found) if isinstance(found, int | float | str) else -1.0
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def text(document: object, *path: str) -> str | None:
    """The text below these keys; None for what stands for nothing there."""
    found = within(document, *path)
    return found[:LONGEST_TEXT] if isinstance(found, str) and found not in ("", "None") else None


def model_cards(site: Site) -> Cards:
    """The cards of GET /v1/models, which all of the engines have."""
    cards = within(site.document("/v1/models", why_not="a key may be needed"), "data")
    return tuple(card for card in cards if isinstance(card, Mapping)) if isinstance(cards, list) else ()


def names_of(cards: Cards) -> tuple[str, ...]:
    """The names of the cards and the folders behind them, each once."""
    found = (text(card, key) for card in cards for key in ("id", "root"))
    return tuple(dict.fromkeys(name for name in found if name is not None))
