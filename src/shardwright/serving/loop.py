"""A copy served from its first request to its last one, step by step.

While nobody comes, leaves or fills a prompt, a step differs from the one before by a token of context: such
steps are taken together, as far as their seconds lie on a straight line (straight.py).
"""

import numpy as np

from shardwright.cost.host import Host
from shardwright.serving.compiled import compiled
from shardwright.serving.gaps import count_gaps, gap_class
from shardwright.serving.house import House
from shardwright.serving.policy import Policy
from shardwright.serving.scheduler import emptiest, join
from shardwright.serving.step import Step, compose
from shardwright.serving.straight import line_of_steps, line_seconds, steps_until
from shardwright.serving.times import Floats, StepTimes

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
    now_s, steps, back, came, ended, waited, polled = 0.0, 0, 0, 0, 0, 0, 0
    while ended < count:
        if house.num_running.max() == 0 or step.pieces.sum() > 0:
            polled = steps
        if house.num_running.max() == 0 and house.num_waiting.max() == 0:
            now_s = max(now_s, house.ready_s[came])
        while came < sent and house.ready_s[came] <= now_s and (steps - polled) % policy.poll_steps == 0:
            join(house, emptiest(house), came)
            came += 1
        waited = waited + 1 if house.num_waiting.max() > 0 else 0
        admits = may_admit(house, policy, waited)
        if admits:
            waited = 0
        back += compose(step, house, times, policy, admits, now_s)
        running = house.num_running.max()
        alike = steps_alike(step, house, policy)
        decoded = step.sequences.sum()
        begun_s = first_s = now_s
        due_s = house.ready_s[came] if came < sent else np.inf
        ran = 0
        while ran < alike and (ran == 0 or now_s < due_s):
            most = alike - ran if ran > 0 else 1
            even, from_s, more_s = line_of_steps(step, ran, most, times.contexts, host, running)
            even = steps_until(due_s - now_s, even, from_s, more_s)
            now_s += line_seconds(even, from_s, more_s)
            if ran == 0:
                first_s = now_s
            else:
                count_gaps(gaps, even, from_s, more_s, decoded)
            ran += even
        steps += ran
        left = end_steps(step, house, ran, begun_s, first_s, now_s, gaps)
        ended += left
        if closed:
            for request in range(sent, min(sent + left, count)):
                send(house, request, now_s, host)
            sent = min(sent + left, count)
    return now_s, steps, back


@compiled
def send(house: House, request: int, now_s: float, host: Host) -> None:
    """A client sends it now. The front end hands requests on in the order in which they came."""
    house.sent_s[request] = now_s
    ready_s = now_s + host.api_s + host.api_token_s * house.length[request]
    house.ready_s[request] = ready_s if request == 0 else max(ready_s, house.ready_s[request - 1])


@compiled
def may_admit(house: House, policy: Policy, waited: int) -> bool:
    """Whether this step takes up requests. waited: steps since somebody waits, this one included."""
    is_over = policy.gather_steps == 0 or waited > policy.gather_steps
    return is_over or house.num_waiting.min() > 0 or house.num_running.min() == 0


@compiled
def steps_alike(step: Step, house: House, policy: Policy) -> int:
    """Steps until the first answer ends or the KV cache is full; 1 with prompts, or while some gather."""
    if step.pieces.sum() > 0 or step.sequences.sum() == 0:
        return 1
    if house.num_waiting.max() > 0 and policy.gather_steps > 0:
        return 1
    alike = ENDLESS
    for lane in range(len(step.pieces)):
        if house.num_running[lane] > 0:
            alike = min(alike, house.shortest[lane])
        if step.sequences[lane] > 0 and house.num_running[lane] > 1:
            alike = min(alike, (policy.kv_tokens - house.held[lane]) // step.sequences[lane])
    return max(alike, 1)


@compiled
def end_steps(
    step: Step, house: House, ran: int, begun_s: float, first_s: float, now_s: float, gaps: Floats
) -> int:
    """Give out the tokens of `ran` steps, and let those go who have all; returns how many.

    The first of the steps lasted from begun_s to first_s. A sequence that stood still before it, or was put
    back, waited for its token for longer.
    """
    left, usual = 0, gap_class(first_s - begun_s)
    for lane in range(len(step.pieces)):
        house.decoding[lane], house.contexts[lane], house.held[lane], house.owed[lane] = 0, 0, 0, 0
        house.shortest[lane] = ENDLESS
        stay = 0
        for place in range(house.num_running[lane]):
            request = house.running[lane, place]
            made = 0
            if house.filled[request] < house.goal[request]:
                house.filled[request] += house.piece[request]
                made = int(house.filled[request] >= house.goal[request])
            elif step.sequences[lane] > 0:
                house.filled[request] += ran
                made = ran
            if made > 0:
                last_s = house.last_s[request]
                if house.made[request] > 0:
                    gaps[usual if last_s == begun_s else gap_class(first_s - last_s)] += 1
                else:
                    house.first_s[request] = now_s
                house.made[request] += made
                house.last_s[request] = now_s
            owed = house.answer[request] - house.made[request]
            if owed <= 0:
                left += 1
                continue
            house.running[lane, stay] = request
            stay += 1
            house.held[lane] += max(house.filled[request], house.goal[request])
            house.owed[lane] += owed
            house.shortest[lane] = min(house.shortest[lane], owed)
            if house.filled[request] >= house.goal[request]:
                house.decoding[lane] += 1
                house.contexts[lane] += house.filled[request]
        house.num_running[lane] = stay
    return left
