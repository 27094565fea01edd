"""What an engine realised, held against the plan: every rank, its experts, its memory, its answers."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from shardwright.audit.placing import ranges
from shardwright.engine.engine import Engine, engine_grid
from shardwright.launch.client import Answer
from shardwright.launch.realised import Realised, RealisedCache
from shardwright.layout.grid import coordinates
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.layout.placement import linear_placement
from shardwright.plan.plan import Plan
from shardwright.record import Record
from shardwright.units import format_bytes

KV_TOLERANCE = 0.05
"""Of bytes a token: vLLM prints the cache in GiB with two digits."""

ROOM_TOLERANCE = 0.10
"""Of tokens and weights: what an engine takes for itself is predicted, not counted."""

ON_CPU = "on a CPU the cache is what VLLM_CPU_KVCACHE_SPACE or a share of the machine's memory makes it"
UNSAID_WEIGHTS = "the engine prints them on a GPU alone, and of the first rank of a node"
UNSAID_EXPERTS = "the engine prints those of the first rank of a node alone"
RESIDENT = "it holds the interpreter and the libraries of every process, and counts shared pages many times"


class CheckRow(Record):
    """One fact, by the plan and by the engine. ok: None where they cannot be compared: why says so."""

    what: str
    planned: str
    realised: str
    ok: bool | None
    why: str = ""


class Check(Record):
    """A launch held against its plan. startup_s: until it answered; None where it ran already."""

    schema_version: Literal[1] = 1
    name: str
    engine: str
    layout: str
    startup_s: float | None
    rows: tuple[CheckRow, ...]
    answers: tuple[Answer, ...]
    met: bool


def check_launch(
    plan: Plan,
    engine: Engine,
    copies: Sequence[tuple[Sequence[int], Realised]],
    answers: Sequence[Answer],
    *,
    asked: tuple[int, int],
    startup_s: float | None,
    resident_bytes: int | None,
) -> Check:
    """copies: of each, the ranks that were started here, and what they realised. asked: requests, and tokens
    of each. resident_bytes: of all processes; None where they are not here."""
    layout = parse_layout(plan.pools[0].layout)
    rows: list[CheckRow] = []
    for number, (ranks, realised) in enumerate(copies):
        found = _copy_rows(plan, engine, layout.model_copy(update={"copies": 1}), ranks, realised)
        named = f"copy {number}: " if len(copies) > 1 else ""
        rows += [row.model_copy(update={"what": named + row.what}) for row in found]
    if resident_bytes is not None:
        rows.append(_resident(plan, layout, resident_bytes))
    rows.append(_answered(answers, *asked))
    return Check(
        name=plan.deployment.name,
        engine=f"{engine.name} {engine.version}",
        layout=plan.pools[0].layout,
        startup_s=startup_s,
        rows=tuple(rows),
        answers=tuple(answers),
        met=all(row.ok is not False for row in rows),
    )


def _copy_rows(
    plan: Plan, engine: Engine, layout: Layout, ranks: Sequence[int], realised: Realised
) -> Iterator[CheckRow]:
    yield _row("version", engine.version, realised.engine_version or "not said", _same_version)
    worlds = sorted({rank.world for rank in realised.ranks})
    yield _row("ranks of a copy", str(layout.num_gpus), " and ".join(map(str, worlds)) or "none")
    yield from _places(engine, layout, ranks, realised)
    if layout.ep > 1 and plan.deployment.model.experts is not None:
        yield from _experts(plan.deployment.model.experts.num_experts, layout, realised)
    for cache in realised.caches:
        yield from _cache(plan, realised, cache)
    yield _weights(plan, realised)


def _places(engine: Engine, layout: Layout, ranks: Sequence[int], realised: Realised) -> Iterator[CheckRow]:
    """Where each rank stands, by the engine's own order."""
    grid = engine_grid(engine, layout)
    said = {rank.rank: rank for rank in realised.ranks}
    for rank in sorted({*ranks, *said}):
        found = said.get(rank)
        planned = "no such rank"
        if rank in ranks:
            seat = coordinates(grid, rank)
            ep = seat.ep if layout.ep > 1 and (found is None or found.says_ep) else None
            planned = _place(seat.dp, seat.stage, seat.tp, ep)
        realised_words = "not said" if found is None else _place(found.dp, found.pp, found.tp, found.ep)
        yield _row(f"rank {rank}", planned, realised_words)


def _place(dp: int | None, stage: int | None, tp: int | None, ep: int | None) -> str:
    return f"DP {dp}, PP {stage}, TP {tp}" + ("" if ep is None else f", EP {ep}")


def _experts(num_experts: int, layout: Layout, realised: Realised) -> Iterator[CheckRow]:
    placement = linear_placement(num_experts, layout.ep, layout.redundant)
    said = {each.ep_rank: each for each in realised.experts}
    for rank in range(layout.ep):
        slots = placement.slots_of(rank)
        planned = f"{len(slots)} of {len(placement.experts)}"
        if not layout.redundant:
            planned += f": {ranges([placement.experts[slot] for slot in slots])}"
        what = f"experts of EP rank {rank}"
        found = said.get(rank)
        if found is None:
            yield CheckRow(what=what, planned=planned, realised="not said", ok=None, why=UNSAID_EXPERTS)
            continue
        realised_words = f"{found.local} of {found.total}"
        if not layout.redundant:
            realised_words += f": {ranges(found.experts)}"
        yield _row(what, planned, realised_words)


def _cache(plan: Plan, realised: Realised, cache: RealisedCache) -> Iterator[CheckRow]:
    """The KV cache of a DP rank: its bytes a token, its size, and whether the load fits."""
    pool = plan.pools[0]
    keeping = [row for row in pool.memory if row.kv_bytes_per_token > 0]
    sizes = [rank.kv_bytes for rank in realised.ranks if rank.dp == cache.dp and rank.kv_bytes is not None]
    of = f"DP rank {cache.dp}: "
    if sizes:
        planned = max(row.kv_bytes_per_token for row in keeping)
        found = min(sizes) / cache.tokens
        yield CheckRow(
            what=f"{of}KV bytes a token, of the fullest stage",
            planned=f"{planned:,.0f}",
            realised=f"{found:,.0f}",
            ok=abs(found / planned - 1) <= KV_TOLERANCE,
        )
    capacity = min(row.kv_capacity_tokens for row in keeping)
    near = cache.tokens >= (1 - ROOM_TOLERANCE) * capacity
    yield CheckRow(
        what=f"{of}KV cache",
        planned=f"{capacity:,} tokens",
        realised=f"{cache.tokens:,} tokens",
        ok=near if cache.device == "GPU" else None,
        why="" if cache.device == "GPU" else ON_CPU,
    )
    length = plan.deployment.workload.max_model_len
    room = cache.tokens // length
    yield CheckRow(
        what=f"{of}sequences of {length} tokens that fit",
        planned=f"{pool.sequences_per_rank} in flight",
        realised=f"{room:,}",
        ok=room >= pool.sequences_per_rank,
    )


def _weights(plan: Plan, realised: Realised) -> CheckRow:
    """Of the fullest rank; what an engine prints is that of the first, which may hold less."""
    planned = max(row.weights for row in plan.pools[0].memory)
    said = [rank.weights_bytes for rank in realised.ranks if rank.weights_bytes is not None]
    return CheckRow(
        what="weights of the fullest rank",
        planned=format_bytes(planned),
        realised=format_bytes(max(said)) if said else "not said",
        ok=max(said) <= (1 + ROOM_TOLERANCE) * planned if said else None,
        why="" if said else UNSAID_WEIGHTS,
    )


def needed_bytes(plan: Plan, num_ranks: int) -> float:
    """What so many ranks need at most where they share one memory: each as the fullest, with its KV."""
    return num_ranks * max(row.used for row in plan.pools[0].memory)


def _resident(plan: Plan, layout: Layout, resident_bytes: int) -> CheckRow:
    return CheckRow(
        what="memory of all processes",
        planned=f"at most {format_bytes(needed_bytes(plan, layout.num_gpus))}",
        realised=f"{format_bytes(resident_bytes)} resident",
        ok=None,
        why=RESIDENT,
    )


def _answered(answers: Sequence[Answer], requests: int, num_tokens: int) -> CheckRow:
    whole = sum(answer.num_tokens == num_tokens for answer in answers)
    return CheckRow(
        what="requests answered",
        planned=f"{requests}, {num_tokens} tokens each",
        realised=f"{whole}, {num_tokens} tokens each",
        ok=whole == requests,
    )


def _same(planned: str, realised: str) -> bool:
    return planned == realised


def _same_version(planned: str, realised: str) -> bool:
    return realised.partition("+")[0] == planned


def _row(what: str, planned: str, realised: str, same: Callable[[str, str], bool] = _same) -> CheckRow:
    return CheckRow(what=what, planned=planned, realised=realised, ok=same(planned, realised))
