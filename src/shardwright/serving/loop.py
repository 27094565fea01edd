"""A copy served from its first request to its last one, step by step.

While nobody comes, leaves or fills a prompt, a step differs from the one before by a token of context: such
steps run in a loop of their own, which looks up nothing but attention.
"""

import numpy as np

from shardwright.cost.host import Host
from shardwright.serving.compiled import compiled
from shardwright.serving.house import House
from shardwright.serving.policy import Policy
from shardwright.serving.scheduler import emptiest, join, occupied
from shardwright.serving.step import Step, compose, step_seconds
from shardwright.serving.times import Floats, StepTimes

FIRST_GAP_S = 1e-6
GAPS_AN_E = 100
NUM_GAPS = 2100
"""Gaps between two tokens are counted in classes 1 % wide, from a microsecond up to 20 minutes."""

ENDLESS = 1 << 60


@compiled
def serve(
    house: House,
    step: Step,
    times: StepTimes,
    policy: Policy,
    host: Host,
    arrivals_s: Floats,
    in_flight: int,
    gaps: Floats,
) -> tuple[float, int, int]:
    """Serve all requests of an empty house; returns (seconds, steps, requests put back for lack of KV).

    arrivals_s: when each is sent, ascending; or empty, and `in_flight` are sent at once and one more as one
    ends. gaps: (NUM_GAPS,), the gaps between tokens by class, added to.
    """
    count, closed = len(house.length), len(arrivals_s) == 0
    sent = min(in_flight, count) if closed else count
    for request in range(sent):
        send(house, request, 0.0 if closed else arrivals_s[request], host)
    now_s, steps, back, came, ended, waited = 0.0, 0, 0, 0, 0, 0
    while ended < count:
        while came < sent and house.ready_s[came] <= now_s:
            join(house, emptiest(house), came)
            came += 1
        running = house.num_running.max()
        if running == 0 and house.num_waiting.max() == 0:
            now_s = house.ready_s[came]
            continue
        waited = waited + 1 if house.num_waiting.max() > 0 else 0
        looks = running == 0 or may_look(house, policy, steps, waited)
        if looks:
            waited = 0
        back += compose(step, house, times, policy, looks, now_s)
        running = house.num_running.max()
        alike = steps_alike(step, house, policy)
        decoded = step.sequences.sum()
        ran = 0
        while ran < alike and (ran == 0 or not (came < sent and house.ready_s[came] <= now_s)):
            step_s = step_seconds(step, ran, times, host, running)
            now_s += step_s
            ran += 1
            gaps[gap_class(step_s)] += decoded
        steps += ran
        left = end_steps(step, house, ran, now_s)
        ended += left
        if closed:
            for request in range(sent, min(sent + left, count)):
                send(house, request, now_s, host)
            sent = min(sent + left, count)
    return now_s, steps, back


@compiled
def send(house: House, request: int, now_s: float, host: Host) -> None:
    """A client sends it now."""
    house.sent_s[request] = now_s
    house.ready_s[request] = now_s + host.api_s + host.api_token_s * house.length[request]


@compiled
def gap_class(gap_s: float) -> int:
    """Class of a gap between two tokens."""
    return int(min(max(np.log(max(gap_s, FIRST_GAP_S) / FIRST_GAP_S) * GAPS_AN_E, 0.0), NUM_GAPS - 1.0))


@compiled
def may_look(house: House, policy: Policy, steps: int, waited: int) -> bool:
    """Whether this step takes up requests. waited: steps since somebody waits."""
    if policy.poll_steps > 1 and steps % policy.poll_steps != 0:
        return False
    return policy.gather_steps == 0 or waited > policy.gather_steps or house.num_waiting.min() > 0


@compiled
def steps_alike(step: Step, house: House, policy: Policy) -> int:
    """Steps until the first answer ends, a look is due, or the KV cache is full; 1 with prompts."""
    if step.pieces.sum() > 0 or step.sequences.sum() == 0:
        return 1
    if house.num_waiting.max() > 0 and (policy.poll_steps > 1 or policy.gather_steps > 0):
        return 1
    alike = ENDLESS
    for lane in range(len(step.pieces)):
        for place in range(house.num_running[lane]):
            request = house.running[lane, place]
            alike = min(alike, house.answer[request] - house.made[request])
        if step.sequences[lane] > 0 and house.num_running[lane] > 1:
            alike = min(alike, (policy.kv_tokens - occupied(house, lane)) // step.sequences[lane])
    return max(alike, 1)


@compiled
def end_steps(step: Step, house: House, ran: int, now_s: float) -> int:
    """Give out the tokens of `ran` steps, and let those go who have all; returns how many."""
    left = 0
    for lane in range(len(step.pieces)):
        stay = 0
        for place in range(house.num_running[lane]):
            request = house.running[lane, place]
            if house.filled[request] < house.goal[request]:
                house.filled[request] += house.piece[request]
                house.made[request] += house.filled[request] >= house.goal[request]
            elif step.sequences[lane] > 0:
                house.filled[request] += ran
                house.made[request] += ran
            if house.made[request] > 0:
                house.first_s[request] = min(house.first_s[request], now_s)
            if house.made[request] >= house.answer[request]:
                house.last_s[request] = now_s
                left += 1
            else:
                house.running[lane, stay] = request
                stay += 1
        house.num_running[lane] = stay
    return left
