"""The layout that an engine says it has, read back from what it prints: a pure parser, a file a format.

vLLM's lines are those of 0.32.0 and 0.33.0, which print the same: distributed/parallel_state.py (the rank
of a process, and what it is assigned as), v1/executor/multiproc_executor.py:1070-1103 (a worker's name
holds its rank on each axis that has more than one), model_executor/layers/fused_moe/expert_map_manager.py
(experts of an EP rank), v1/core/kv_cache_utils.py:2327 (tokens of the KV cache),
v1/worker/gpu_model_runner.py:5149 (weights, on a GPU), v1/worker/cpu_worker.py:260 and
v1/worker/gpu_worker.py:759 (bytes for KV).

Of a node's processes only the first prints what all have in common (logger.py: info_once), so that not
every rank says how many experts it has.
"""

import re
from collections.abc import Iterable
from functools import cached_property

from shardwright.record import Record
from shardwright.units import GIB

SAID = re.compile(r"^\((?P<name>[^()\s]+) pid=(?P<pid>\d+)\) (?P<text>.*)$", re.MULTILINE)
"""A line of a process that has a name."""

WORKER = re.compile(r"Worker((?:_[A-Z]+\d+)+)$")
AXIS = re.compile(r"_([A-Z]+)(\d+)")

WORLD = re.compile(r"world_size=(\d+) rank=(\d+) local_rank=\d+")
ASSIGNED = re.compile(
    r"rank (\d+) in world size (\d+) is assigned as DP rank (\d+), PP rank (\d+), PCP rank \d+, TP rank (\d+)"
)
EXPERTS = re.compile(
    r"\[EP Rank (\d+)/(\d+)\].*Local/global number of experts: (\d+)/(\d+)\..*?index map: ([\d>, -]*\d)"
)
KV_TOKENS = re.compile(r"(CPU|GPU) KV cache size: ([\d,]+) tokens")
KV_BYTES = re.compile(r"(?:Explicitly set|Auto set) \(([\d.]+)/|Available KV cache memory: ([\d.]+) GiB")
WEIGHTS = re.compile(r"Model loading took ([\d.]+) GiB")
VERSION = re.compile(r"Initializing a V1 LLM engine \(v([^)\s]+)\)")


class RealisedRank(Record):
    """A rank, as its process says it stands. rank: in the world of its copy. ep: None where it has none;
    says_ep: whether it says so at all.

    kv_bytes, weights_bytes: None where it does not say.
    """

    rank: int
    world: int
    dp: int
    pp: int
    tp: int
    ep: int | None
    says_ep: bool
    kv_bytes: float | None = None
    weights_bytes: float | None = None


class RealisedExperts(Record):
    """What an EP rank holds of every layer: `experts`, of `total`."""

    ep_rank: int
    ep_size: int
    local: int
    total: int
    experts: tuple[int, ...]


class RealisedCache(Record):
    """The KV cache of the ranks of one DP rank. device: 'CPU' or 'GPU'."""

    dp: int
    tokens: int
    device: str


class Realised(Record):
    """What the processes of one copy say; parts are empty where they say nothing."""

    engine_version: str
    ranks: tuple[RealisedRank, ...]
    experts: tuple[RealisedExperts, ...]
    caches: tuple[RealisedCache, ...]


def realised_by_vllm(texts: Iterable[str]) -> Realised:
    """Of the logs of the processes of one copy, on all its nodes that are here."""
    ranks: dict[int, RealisedRank] = {}
    experts: dict[int, RealisedExperts] = {}
    caches: dict[int, RealisedCache] = {}
    version = ""
    for text in texts:
        version = next((found[1] for found in VERSION.finditer(text)), version)
        for said in _by_process(text):
            if (rank := said.rank()) is not None:
                ranks[rank.rank] = rank
            for found in EXPERTS.finditer(said.text):
                experts[int(found[1])] = _experts(found)
            for device, tokens in KV_TOKENS.findall(said.text):
                dp = int(said.axes.get("DP", 0))
                caches[dp] = RealisedCache(dp=dp, tokens=int(tokens.replace(",", "")), device=device)
    return Realised(
        engine_version=version,
        ranks=tuple(ranks[rank] for rank in sorted(ranks)),
        experts=tuple(experts[rank] for rank in sorted(experts)),
        caches=tuple(caches[dp] for dp in sorted(caches)),
    )


class _Said:
    """All that one process of an engine said, and the axes that its name states.

    A rank by itself in its DP rank has no worker: its engine core is the rank, and names no EP.
    """

    def __init__(self) -> None:
        self.axes: dict[str, int] = {}
        self.is_worker = False
        self.lines: list[str] = []

    @cached_property
    def text(self) -> str:
        return "\n".join(self.lines)

    def rank(self) -> RealisedRank | None:
        """None for a process that is no rank."""
        assigned, world = ASSIGNED.search(self.text), WORLD.search(self.text)
        if assigned is not None:
            rank, size, dp, pp, tp = map(int, assigned.groups())
        elif world is not None:
            size, rank = map(int, world.groups())
            dp, pp, tp = (self.axes.get(axis, 0) for axis in ("DP", "PP", "TP"))
        else:
            return None
        return RealisedRank(
            rank=rank,
            world=size,
            dp=dp,
            pp=pp,
            tp=tp,
            ep=self._ep(),
            says_ep=self.is_worker or assigned is not None,
            kv_bytes=_gib(KV_BYTES, self.text),
            weights_bytes=_gib(WEIGHTS, self.text),
        )

    def _ep(self) -> int | None:
        """The assignment names an EP rank where experts are cut by width, too: these two do not."""
        experts = EXPERTS.search(self.text)
        return self.axes.get("EP") if experts is None else int(experts[1])


def _by_process(text: str) -> list[_Said]:
    found: dict[int, _Said] = {}
    for line in SAID.finditer(text):
        said = found.setdefault(int(line["pid"]), _Said())
        said.lines.append(line["text"])
        if worker := WORKER.match(line["name"]):
            said.is_worker = True
            said.axes = {axis: int(rank) for axis, rank in AXIS.findall(worker[1])}
        elif line["name"].startswith("EngineCore"):
            said.axes = {axis: int(rank) for axis, rank in AXIS.findall(line["name"])}
    return list(found.values())


def _experts(found: "re.Match[str]") -> RealisedExperts:
    return RealisedExperts(
        ep_rank=int(found[1]),
        ep_size=int(found[2]),
        local=int(found[3]),
        total=int(found[4]),
        experts=tuple(int(pair.split("->")[1]) for pair in found[5].split(",")),
    )


def _gib(pattern: "re.Pattern[str]", text: str) -> float | None:
    found = pattern.search(text)
    return None if found is None else float(next(value for value in found.groups() if value)) * GIB
