"""From a URL to an Inspection: which engine answers there, what it says, what it measured."""

import time

from shardwright import __version__
from shardwright.errors import EnvironmentLacksError
from shardwright.launch.inspect.inspection import Inspection, Observed, RankState
from shardwright.launch.inspect.metrics import Samples, parse
from shardwright.launch.inspect.served import Cards, Names, Served, model_cards, text
from shardwright.launch.inspect.sglang import SGLANG
from shardwright.launch.inspect.site import Site
from shardwright.launch.inspect.tensorrt_llm import TENSORRT_LLM
from shardwright.launch.inspect.vllm import VLLM

SERVED = (VLLM, SGLANG, TENSORRT_LLM)

NONE = Samples({})


def inspect(url: str, *, over_s: float = 0.0, limit_s: float = 10.0) -> Inspection:
    """Read the server at `url`; over_s > 0 reads its counts twice, so many seconds apart.

    limit_s: of each request. Raises EnvironmentLacksError where nobody answers in time, and InputError where
    what answers is no server of a known engine.
    """
    site = Site(url, limit_s=limit_s)
    cards = model_cards(site)
    served, samples = _who(site, cards)
    found = served.said(site, cards, samples)
    took_s = None
    counted = samples
    if over_s > 0:
        started = time.monotonic()
        time.sleep(over_s)
        later = _samples(site, served)
        grown = later.since(samples)
        if grown is None:
            raise EnvironmentLacksError(f"the server at {site.url} started anew while it was read")
        took_s, samples, counted = time.monotonic() - started, later, grown
    return Inspection(
        tool_version=__version__,
        url=site.url,
        engine=served.engine,
        title=served.title,
        said=found,
        ranks=_ranks(samples, served.names),
        observed=_observed(counted, served.names, took_s),
        unread=tuple(dict.fromkeys(site.unread)),
    )


def _who(site: Site, cards: Cards) -> tuple[Served, Samples]:
    """The engine: by whom the model cards are owned, else by the names of its metrics."""
    owners = {text(card, "owned_by") for card in cards}
    for served in SERVED:
        if served.owner in owners:
            return served, _samples(site, served)
    unread = tuple(site.unread)
    for served in SERVED:
        samples = _samples(site, served, strict=False)
        if any(name.startswith(served.prefix) for name in samples.values):
            return served, samples
        site.unread[:] = unread
    raise site.wrong("/v1/models", f"cards of {', '.join(served.title for served in SERVED)}")


def _samples(site: Site, served: Served, *, strict: bool = True) -> Samples:
    """The page of metrics; empty where it is not offered. strict: it must have the right format."""
    page = site.text(served.metrics, why_not=served.why_not)
    if page is None:
        return NONE
    try:
        return parse(page)
    except ValueError:
        if strict:
            raise site.wrong(served.metrics, "metrics in Prometheus' text format") from None
        return NONE


def _ranks(samples: Samples, names: Names) -> tuple[RankState, ...]:
    running, waiting, usage = (
        samples.by_rank(name, names.rank) for name in (names.running, names.waiting, names.kv_usage)
    )
    return tuple(
        RankState(
            rank=rank,
            running=_whole(running.get(rank)),
            waiting=_whole(waiting.get(rank)),
            kv_usage=usage.get(rank),
        )
        for rank in sorted({*running, *waiting, *usage})
    )


def _observed(samples: Samples, names: Names, over_s: float | None) -> Observed:
    output = samples.total(names.output_tokens)
    hits, queries = samples.total(names.prefix_hits), samples.total(names.prefix_queries)
    return Observed(
        over_s=over_s,
        ttft=samples.distribution(names.ttft),
        tpot=samples.distribution(names.tpot),
        itl=samples.distribution(names.itl),
        prompt_tokens=_whole(samples.total(names.prompt_tokens)),
        output_tokens=_whole(output),
        output_tokens_per_s=output / over_s if output is not None and over_s else None,
        preemptions=_whole(samples.total(names.preemptions)),
        prefix_hits=hits / queries if hits is not None and queries else None,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
