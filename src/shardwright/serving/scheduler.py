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
    house.filled[request] = 0
    house.behind[request] = house.first_waiting[lane]
    if house.num_waiting[lane] == 0:
        house.last_waiting[lane] = request
    house.first_waiting[lane] = request
    house.num_waiting[lane] += 1


@compiled
def kept(house: House, lane: int, reserve: float) -> float:
    """Tokens of KV that the lane's requests have, or are promised."""
    total = 0.0
    for place in range(house.num_running[lane]):
        request = house.running[lane, place]
        have = house.length[request] + house.made[request]
        total += have + reserve * (house.answer[request] - house.made[request])
    return total


@compiled
def admit(house: House, lane: int, policy: Policy, left: int, now_s: float) -> int:
    """Take up waiting requests, `left` tokens of prompts at most; returns the tokens that are taken up."""
    taken = 0
    used = kept(house, lane, policy.reserve)
    while house.num_waiting[lane] > 0 and house.num_running[lane] < house.running.shape[1]:
        request = house.first_waiting[lane]
        rest = house.length[request] + house.made[request]
        needs_kv = rest + policy.reserve * (house.answer[request] - house.made[request])
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
        used += needs_kv
        taken += piece
    return taken


@compiled
def occupied(house: House, lane: int) -> int:
    """Tokens of KV that the lane's requests have, or are about to fill."""
    total = 0
    for place in range(house.num_running[lane]):
        request = house.running[lane, place]
        total += max(house.filled[request], house.goal[request])
    return total


@compiled
def emptiest(house: House) -> int:
    """The lane with the fewest requests, the first of them."""
    return int(np.argmin(house.num_waiting + house.num_running))


@compiled
def schedule(house: House, lane: int, policy: Policy, may_admit: bool, now_s: float) -> int:
    """Choose the pieces of prompts of the lane's next step; returns their tokens."""
    count = 0
    left = policy.most_tokens
    for place in range(house.num_running[lane]):
        request = house.running[lane, place]
        house.piece[request] = 0
        if house.filled[request] >= house.goal[request]:
            count += 1
    if policy.mixes:
        left -= count
    taken = 0
    for place in range(house.num_running[lane]):
        request = house.running[lane, place]
        rest = house.goal[request] - house.filled[request]
        if rest > 0:
            house.piece[request] = max(0, min(rest, left - taken))
            taken += house.piece[request]
    if may_admit:
        taken += admit(house, lane, policy, left - taken, now_s)
    return taken
