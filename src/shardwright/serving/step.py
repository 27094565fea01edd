"""The next step of a copy: what each lane does in it, and what it takes."""

from typing import NamedTuple

import numpy as np

from shardwright.cost.host import Host
from shardwright.serving.compiled import compiled
from shardwright.serving.house import House, Ints
from shardwright.serving.lookup import across, along, line
from shardwright.serving.policy import Policy
from shardwright.serving.scheduler import put_back, schedule
from shardwright.serving.times import Floats, StepTimes


class Step(NamedTuple):
    """Arrays over lanes. pieces: tokens of prompts; sequences, contexts: that decode, and their tokens of KV;
    rest_s: all but their attention; decode_s: (lanes, contexts), that by its mean context.

    Over micro-batches: all_tokens, of all ranks; joint_s, their experts; busy, the share of a pass of the
    busiest stage.
    """

    pieces: Ints
    sequences: Ints
    contexts: Ints
    rest_s: Floats
    decode_s: Floats
    all_tokens: Ints
    joint_s: Floats
    busy: Floats


def empty_step(num_lanes: int, dp: int, num_contexts: int) -> Step:
    """A step in which nothing is done. num_contexts: points of the tables."""

    def none() -> Ints:
        return np.zeros(num_lanes, dtype=np.int64)

    return Step(
        pieces=none(),
        sequences=none(),
        contexts=none(),
        rest_s=np.zeros(num_lanes),
        decode_s=np.zeros((num_lanes, num_contexts)),
        all_tokens=np.zeros(num_lanes // dp, dtype=np.int64),
        joint_s=np.zeros(num_lanes // dp),
        busy=np.zeros(num_lanes // dp),
    )


@compiled
def compose(step: Step, house: House, times: StepTimes, policy: Policy, admits: bool, now_s: float) -> int:
    """Choose what every lane does; returns the requests that were put back for lack of room.

    admits: whether those who wait may be taken up.
    """
    lanes, back = len(step.pieces), 0
    dp = lanes // len(step.all_tokens)
    for lane in range(lanes):
        stalled = schedule(house, lane, policy, admits, now_s) > 0 and not policy.mixes
        if not stalled:
            back += make_room(house, lane, policy)
        _count(step, house, lane, times, stalled)
    for batch in range(len(step.all_tokens)):
        ranks = slice(batch * dp, batch * dp + dp)
        tokens = step.pieces[ranks] + step.sequences[ranks]
        step.all_tokens[batch] = tokens.sum()
        step.joint_s[batch] = along(times.all_tokens, times.joint_s, tokens.sum())
        step.busy[batch] = along(times.tokens, times.busy, tokens.max())
    return back


@compiled
def make_room(house: House, lane: int, policy: Policy) -> int:
    """Put back the youngest until the KV cache has room for a token of each; returns how many."""
    back = 0
    while house.num_running[lane] > 1 and house.held[lane] + house.decoding[lane] > policy.kv_tokens:
        put_back(house, lane)
        back += 1
    return back


@compiled
def _count(step: Step, house: House, lane: int, times: StepTimes, stalled: bool) -> None:
    """What the lane does, and all of its time but the attention of what it decodes."""
    sequences = 0 if stalled else house.decoding[lane]
    pieces, ended = 0, 0
    prompts_s, start_s = 0.0, 0.0
    for place in range(house.decoding[lane], house.num_running[lane]):
        request = house.running[lane, place]
        piece = house.piece[request]
        if piece > 0:
            pieces += piece
            behind = house.filled[request] + piece
            ended += behind >= house.goal[request]
            prompts_s += across(times.tokens, times.contexts, times.prefill_s, piece, behind)
            start_s = max(start_s, across(times.tokens, times.contexts, times.start_s, piece, behind))
    step.pieces[lane], step.sequences[lane] = pieces, sequences
    step.contexts[lane] = 0 if stalled else house.contexts[lane] + sequences
    tokens = pieces + sequences
    rest_s = prompts_s + start_s
    if tokens > 0:
        rest_s += along(times.tokens, times.own_s, tokens)
    if sequences + ended > 0:
        rest_s += along(times.sequences, times.head_s, sequences + ended)
    if sequences > 0:
        line(times.sequences, times.decode_s, sequences, step.decode_s[lane])
    step.rest_s[lane] = rest_s


@compiled
def step_seconds(step: Step, later: int, contexts: Floats, host: Host, running: int) -> float:
    """Seconds of the step that comes `later` steps after this one, alike but for the context.

    contexts: of the tables. running: sequences of the fullest lane. The ranks of a micro-batch wait for the
    slowest; micro-batches take turns: a cycle lasts as long as the longest pass, or as the busiest stage
    needs for all of them.
    """
    dp = len(step.pieces) // len(step.all_tokens)
    longest, busy = 0.0, 0.0
    for batch in range(len(step.all_tokens)):
        if step.all_tokens[batch] == 0:
            continue
        slowest = 0.0
        for lane in range(batch * dp, batch * dp + dp):
            seconds = step.rest_s[lane]
            count = step.sequences[lane]
            if count > 0:
                seconds += along(contexts, step.decode_s[lane], step.contexts[lane] / count + later)
            slowest = max(slowest, seconds)
        pass_s = slowest + step.joint_s[batch]
        longest = max(longest, pass_s)
        busy += pass_s * step.busy[batch]
    on_host_s = host.step_s + host.sequence_s * running
    if step.pieces.sum() == 0:
        return max(max(longest, busy) * host.decode, host.least_s) + on_host_s
    devices_s = max(max(longest, busy) * host.prefill, host.least_s)
    return max(devices_s + on_host_s + host.prefill_s, host.least_prefill_s)
