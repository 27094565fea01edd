"""A slow server to check the fast one against: objects and lists, one step at a time, nothing skipped.

Written from what the engines do. vLLM V1 (v1/core/sched/scheduler.py): those who run first, in the order in
which they were taken up, a token each, then those who wait while the budget lasts; without room the last one
starts again. SGLang (managers/scheduler.py, scheduler_recv_skipper.py): a rank with prompts to fill does only
that; requests are fetched after a step with prompts, when nothing runs, or each so many steps. TensorRT-LLM
(py_executor.py): prompts wait for those of all ranks, unless a rank has nothing to generate or time is up.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from shardwright.cost.host import Host
from shardwright.serving.policy import Policy
from shardwright.serving.times import Floats, StepTimes


@dataclass(eq=False)
class Request:
    """prompt, wanted: tokens. cached: of KV; target: what it must have before it gives a token."""

    prompt: int
    wanted: int
    sent_s: float = 0.0
    ready_s: float = 0.0
    admitted_s: float | None = None
    token_s: list[float] = field(default_factory=list)
    cached: int = 0
    target: int = 0

    @property
    def so_far(self) -> int:
        """Tokens that the model would have to read, were all KV lost."""
        return self.prompt + len(self.token_s)

    @property
    def is_prompt(self) -> bool:
        return self.cached < self.target


@dataclass(frozen=True)
class Work:
    """What a rank does in a step: a piece of each prompt, and who decodes."""

    pieces: dict[Request, int]
    decodes: list[Request]

    @property
    def tokens(self) -> int:
        return sum(self.pieces.values()) + len(self.decodes)


@dataclass
class Rank:
    """One attention rank of one micro-batch. runs: oldest first."""

    policy: Policy
    waits: deque[Request] = field(default_factory=deque)
    runs: list[Request] = field(default_factory=list)

    def promised(self, request: Request) -> float:
        """KV that is set aside for it."""
        return request.so_far + self.policy.reserve * (request.wanted - len(request.token_s))

    def plan(self, may_admit: bool, now_s: float) -> tuple[Work, int]:
        """(the next step's work, requests that were put back)."""
        policy = self.policy
        decodes = [request for request in self.runs if not request.is_prompt]
        budget = policy.most_tokens - (len(decodes) if policy.mixes else 0)
        pieces: dict[Request, int] = {}
        for request in self.runs:
            if request.is_prompt:
                pieces[request] = max(0, min(budget, request.target - request.cached))
                budget -= pieces[request]
        while may_admit and self.waits and len(self.runs) < policy.most_sequences:
            request = self.waits[0]
            is_full = sum(map(self.promised, [*self.runs, request])) > policy.kv_tokens
            piece = min(budget, request.so_far)
            may_cut = policy.splits or request.so_far > policy.most_tokens
            if (is_full and self.runs) or piece <= 0 or (piece < request.so_far and not may_cut):
                break
            self.runs.append(self.waits.popleft())
            if request.admitted_s is None:
                request.admitted_s = now_s
            request.cached, request.target = 0, request.so_far
            pieces[request] = piece
            budget -= piece
        if not policy.mixes and sum(pieces.values()) > 0:
            return Work(pieces, []), 0
        back = 0
        while len(self.runs) > 1 and self.needed() > policy.kv_tokens:
            loser = self.runs.pop()
            loser.cached = 0
            self.waits.appendleft(loser)
            pieces.pop(loser, None)
            back += 1
        return Work(pieces, [request for request in self.runs if not request.is_prompt]), back

    def needed(self) -> int:
        """KV after the next step: prompts have all of theirs set aside, the others get a token more."""
        return sum(request.target if request.is_prompt else request.cached + 1 for request in self.runs)

    def give(self, work: Work, now_s: float) -> list[Request]:
        """The tokens of a step; returns those who have all."""
        for request, piece in work.pieces.items():
            request.cached += piece
            if not request.is_prompt:
                request.token_s.append(now_s)
        for request in work.decodes:
            request.cached += 1
            request.token_s.append(now_s)
        done = [request for request in self.runs if len(request.token_s) == request.wanted]
        self.runs = [request for request in self.runs if request not in done]
        return done


def bilinear(rows: Floats, columns: Floats, values: Floats, row: float, column: float) -> float:
    """numpy's own interpolation, along one axis and then along the other."""
    return float(np.interp(row, rows, [np.interp(column, columns, line) for line in values]))


def rank_seconds(work: Work, times: StepTimes) -> float:
    """A rank's own seconds."""
    seconds, starts, tokens_given = 0.0, [0.0], len(work.decodes)
    for request, piece in work.pieces.items():
        if piece > 0:
            behind = request.cached + piece
            seconds += bilinear(times.tokens, times.contexts, times.prefill_s, piece, behind)
            starts.append(bilinear(times.tokens, times.contexts, times.start_s, piece, behind))
            tokens_given += behind == request.target
    seconds += max(starts)
    if work.tokens:
        seconds += np.interp(work.tokens, times.tokens, times.own_s)
    if tokens_given:
        seconds += np.interp(tokens_given, times.sequences, times.head_s)
    if work.decodes:
        context = np.mean([request.cached + 1 for request in work.decodes])
        seconds += bilinear(times.sequences, times.contexts, times.decode_s, len(work.decodes), context)
    return float(seconds)


def cycle_seconds(
    micro_batches: Sequence[Sequence[Work]], times: StepTimes, host: Host, sequences: int
) -> float:
    """A step of all micro-batches: each waits for its slowest rank, and for its turn in the busiest stage."""
    passes, turns = [], []
    for works in micro_batches:
        tokens = [work.tokens for work in works]
        if not sum(tokens):
            continue
        slowest = max(rank_seconds(work, times) for work in works)
        passes.append(slowest + np.interp(sum(tokens), times.all_tokens, times.joint_s))
        turns.append(passes[-1] * np.interp(max(tokens), times.tokens, times.busy))
    devices_s = max(*passes, sum(turns))
    host_s = host.step_s + host.sequence_s * sequences
    if any(sum(work.pieces.values()) for works in micro_batches for work in works):
        runs_s = max(devices_s * host.prefill, host.least_s) + host_s
        return float(max(runs_s + host.prefill_s, host.least_prefill_s))
    return float(max(devices_s * host.decode, host.least_s) + host_s)


@dataclass
class Told:
    """What the reference saw."""

    requests: list[Request]
    duration_s: float
    steps: int
    restarted: int


def play(
    times: StepTimes,
    policy: Policy,
    host: Host,
    *,
    dp: int,
    pp: int,
    prompts: Sequence[int],
    answers: Sequence[int],
    arrivals_s: Sequence[float] | None,
    in_flight: int,
) -> Told:
    """One copy serves all requests."""
    everyone = [Request(prompt, wanted) for prompt, wanted in zip(prompts, answers, strict=True)]
    ranks = [Rank(policy) for _ in range(dp * pp)]
    to_send = deque(everyone)
    on_the_way: deque[Request] = deque()

    def send(at_s: float) -> None:
        request = to_send.popleft()
        alone_s = at_s + host.api_s + host.api_token_s * request.prompt
        request.sent_s = at_s
        request.ready_s = max([alone_s, *(before.ready_s for before in on_the_way)])
        on_the_way.append(request)

    for number in range(len(everyone) if arrivals_s is not None else in_flight):
        if to_send:
            send(0.0 if arrivals_s is None else arrivals_s[number])
    now_s, steps, restarted, held, since_poll = 0.0, 0, 0, 0, policy.poll_steps
    while any(len(request.token_s) < request.wanted for request in everyone):
        is_idle = not any(rank.runs for rank in ranks)
        if is_idle and not any(rank.waits for rank in ranks):
            now_s = max(now_s, on_the_way[0].ready_s)
        if is_idle or since_poll >= policy.poll_steps:
            since_poll = 0
            while on_the_way and on_the_way[0].ready_s <= now_s:
                min(ranks, key=lambda rank: len(rank.waits) + len(rank.runs)).waits.append(
                    on_the_way.popleft()
                )
        held = held + 1 if any(rank.waits for rank in ranks) else 0
        may_admit = (
            held > policy.gather_steps
            or all(rank.waits for rank in ranks)
            or not all(rank.runs for rank in ranks)
        )
        if may_admit:
            held = 0
        plans = [rank.plan(may_admit, now_s) for rank in ranks]
        restarted += sum(back for _, back in plans)
        works = [work for work, _ in plans]
        micro_batches = [works[first : first + dp] for first in range(0, dp * pp, dp)]
        now_s += cycle_seconds(micro_batches, times, host, max(len(rank.runs) for rank in ranks))
        steps += 1
        has_prompts = any(sum(work.pieces.values()) for work in works)
        since_poll = policy.poll_steps if has_prompts else since_poll + 1
        for rank, work in zip(ranks, works, strict=True):
            for _ in rank.give(work, now_s):
                if arrivals_s is None and to_send:
                    send(now_s)
    return Told(everyone, now_s, steps, restarted)
