"""Who runs in the next step of a lane: continuous batching as the engines do it.

Decoded sequences first, each a token (vLLM's v1/core/sched/scheduler.py), then the prompts under way, then
those that wait, in order, while the step's tokens, the sequences and the KV cache have room.
"""

import numpy as np

from shardwright.serving.compiled import compiled
from shardwright.serving.house import NOBODY, House
from shardwright.serving.policy import Policy


@compiled
def join(house: House, lane: int, request: int) -> None:
    """`request` waits behind all others of the lane."""
    house.behind[request] = NOBODY
    if house.num_waiting[lane] == 0:
        house.first_waiting[lane] = request
    else:
        house.behind[house.last_waiting[lane]] = request
    house.last_waiting[lane] = request
    house.num_waiting[lane] += 1


@compiled
def put_back(house: House, lane: int) -> None:
    """The request that runs for the shortest time waits again, before all others, without its KV."""
    house.num_running[lane] -= 1
    request = house.running[lane, house.num_running[lane]]
    if house.filled[request] < house.goal[request]:
        house.held[lane] -= house.goal[request]
    else:
        house.held[lane] -= house.filled[request]
        house.contexts[lane] -= house.filled[request]
        house.decoding[lane] -= 1
    house.owed[lane] -= house.answer[request] - house.made[request]
    house.filled[request] = 0
    house.behind[request] = house.first_waiting[lane]
    if house.num_waiting[lane] == 0:
        house.last_waiting[lane] = request
    house.first_waiting[lane] = request
    house.num_waiting[lane] += 1


@compiled
def admit(house: House, lane: int, policy: Policy, left: int, now_s: float) -> int:
    """Take up waiting requests, `left` tokens of prompts at most; returns the tokens that are taken up."""
    taken = 0
    # Who decodes is about to have a token more.
    used = house.held[lane] + house.decoding[lane] + policy.reserve * house.owed[lane]
    while house.num_waiting[lane] > 0 and house.num_running[lane] < house.running.shape[1]:
        request = house.first_waiting[lane]
        rest = house.length[request] + house.made[request]
        owed = house.answer[request] - house.made[request]
        needs_kv = rest + policy.reserve * owed
        is_alone = house.num_running[lane] == 0
        if used + needs_kv > policy.kv_tokens and not is_alone:
            break
        piece = min(rest, left - taken)
        # A prompt longer than any step takes is cut by every engine, lest it wait for ever.
        if piece < 1 or (piece < rest and not (policy.splits or rest > policy.most_tokens)):
            break
        house.first_waiting[lane] = house.behind[request]
        house.num_waiting[lane] -= 1
        house.running[lane, house.num_running[lane]] = request
        house.num_running[lane] += 1
        house.admitted_s[request] = min(house.admitted_s[request], now_s)
        house.filled[request] = 0
        house.goal[request] = rest
        house.piece[request] = piece
        house.held[lane] += rest
        house.owed[lane] += owed
        used += needs_kv
        taken += piece
    return taken


@compiled
def emptiest(house: House) -> int:
    """The lane with the fewest requests, the first of them."""
    return int(np.argmin(house.num_waiting + house.num_running))


@compiled
def schedule(house: House, lane: int, policy: Policy, may_admit: bool, now_s: float) -> int:
    """Choose the pieces of prompts of the lane's next step; returns their tokens."""
    left, taken = policy.most_tokens, 0
    if policy.mixes:
        left -= house.decoding[lane]
    for place in range(house.decoding[lane], house.num_running[lane]):
        request = house.running[lane, place]
        house.piece[request] = max(0, min(house.goal[request] - house.filled[request], left - taken))
        taken += house.piece[request]
    if may_admit:
        taken += admit(house, lane, policy, left - taken, now_s)
    return taken
