"""The next step of a copy: what each lane does in it, and what it takes."""

from typing import NamedTuple

import numpy as np

from shardwright.cost.host import Host
from shardwright.serving.compiled import compiled
from shardwright.serving.house import House, Ints
from shardwright.serving.lookup import across, along
from shardwright.serving.policy import Policy
from shardwright.serving.scheduler import occupied, put_back, schedule
from shardwright.serving.times import Floats, StepTimes


class Step(NamedTuple):
    """Arrays over lanes. pieces: tokens of prompts; sequences, contexts: that decode, and their tokens of KV;
    rest_s: all but their attention. all_tokens: (micro-batches,), of all ranks."""

    pieces: Ints
    sequences: Ints
    contexts: Ints
    rest_s: Floats
    all_tokens: Ints


def empty_step(num_lanes: int, dp: int) -> Step:
    """A step in which nothing is done."""

    def none() -> Ints:
        return np.zeros(num_lanes, dtype=np.int64)

    return Step(
        pieces=none(),
        sequences=none(),
        contexts=none(),
        rest_s=np.zeros(num_lanes),
        all_tokens=np.zeros(num_lanes // dp, dtype=np.int64),
    )


@compiled
def compose(step: Step, house: House, times: StepTimes, policy: Policy, looks: bool, now_s: float) -> int:
    """Choose what every lane does; returns the requests that were put back for lack of room.

    looks: whether those who wait may be taken up.
    """
    lanes, back = len(step.pieces), 0
    for lane in range(lanes):
        step.pieces[lane] = schedule(house, lane, policy, looks, now_s)
    stalled = not policy.mixes and step.pieces.sum() > 0
    dp = lanes // len(step.all_tokens)
    step.all_tokens[:] = 0
    for lane in range(lanes):
        if not stalled:
            back += make_room(house, lane, policy)
        _count(step, house, lane, times, stalled)
        step.all_tokens[lane // dp] += step.pieces[lane] + step.sequences[lane]
    return back


@compiled
def make_room(house: House, lane: int, policy: Policy) -> int:
    """Put back the youngest until the KV cache has room for a token of each; returns how many."""
    back = 0
    while house.num_running[lane] > 1:
        decoding = 0
        for place in range(house.num_running[lane]):
            request = house.running[lane, place]
            decoding += house.filled[request] >= house.goal[request]
        if occupied(house, lane) + decoding <= policy.kv_tokens:
            break
        put_back(house, lane)
        back += 1
    return back


@compiled
def _count(step: Step, house: House, lane: int, times: StepTimes, stalled: bool) -> None:
    """What the lane does, and all of its time but the attention of what it decodes."""
    sequences, contexts, pieces, ended = 0, 0, 0, 0
    prompts_s, start_s = 0.0, 0.0
    for place in range(house.num_running[lane]):
        request = house.running[lane, place]
        piece = house.piece[request]
        if house.filled[request] >= house.goal[request]:
            sequences += 1
            contexts += house.filled[request] + 1
        elif piece > 0:
            pieces += piece
            behind = house.filled[request] + piece
            ended += behind >= house.goal[request]
            prompts_s += across(times.tokens, times.contexts, times.prefill_s, piece, behind)
            start_s = max(start_s, across(times.tokens, times.contexts, times.start_s, piece, behind))
    if stalled:
        sequences, contexts = 0, 0
    step.pieces[lane], step.sequences[lane], step.contexts[lane] = pieces, sequences, contexts
    tokens = pieces + sequences
    rest_s = prompts_s + start_s
    if tokens > 0:
        rest_s += along(times.tokens, times.own_s, tokens)
    if sequences + ended > 0:
        rest_s += along(times.sequences, times.head_s, sequences + ended)
    step.rest_s[lane] = rest_s


@compiled
def step_seconds(step: Step, later: int, times: StepTimes, host: Host, running: int) -> float:
    """Seconds of the step that comes `later` steps after this one, alike but for the context.

    running: sequences of the fullest lane. The ranks of a micro-batch wait for the slowest; micro-batches
    take turns: a cycle lasts as long as the longest pass, or as the busiest stage needs for all of them.
    """
    dp = len(step.pieces) // len(step.all_tokens)
    longest, busy, prompts = 0.0, 0.0, 0
    for batch in range(len(step.all_tokens)):
        if step.all_tokens[batch] == 0:
            continue
        slowest, most = 0.0, 0
        for lane in range(batch * dp, batch * dp + dp):
            seconds = step.rest_s[lane]
            count = step.sequences[lane]
            if count > 0:
                context = step.contexts[lane] / count + later
                seconds += across(times.sequences, times.contexts, times.decode_s, count, context)
            slowest = max(slowest, seconds)
            most = max(most, step.pieces[lane] + count)
            prompts += step.pieces[lane]
        slowest += along(times.all_tokens, times.joint_s, step.all_tokens[batch])
        longest = max(longest, slowest)
        busy += slowest * along(times.tokens, times.busy, most)
    on_host_s = host.step_s + host.sequence_s * running
    if prompts == 0:
        return max(longest, busy) * host.decode + on_host_s
    devices_s = max(longest, busy) * host.prefill
    return max(devices_s + on_host_s + host.prefill_s, host.least_prefill_s)
