"""Requests whose lengths vary: after their first wave they come one by one.

Requests end and come back at some rate, by chance: of the steps of T seconds on average, a share 1 -
exp(-rate k T) has prompts in it, each prompt in k steps. A step with prompts of some of them stalls all who
decode. One's own prompt waits for the rest of the step that runs, and in a line where the steps are full
(M/D/c after Sakasegawa, Ann. Inst. Stat. Math. 29, 1977). The rate is that of the house by Little's law, at
most what its steps can take.
"""

import numpy as np

from shardwright.cost.host import Host
from shardwright.cost.house import Batching, House
from shardwright.record import Size
from shardwright.workload.workload import Workload

ROUNDS = 12
"""Of the fixed point, damped by half: twice as many move the median distance to a simulation by 0.1 %."""

BUSIEST = 0.99
"""Share of what steps can take up to which a line has a mean length."""


def later_apart(
    workload: Workload, batching: Batching, host: Host, house: House, api_s: float
) -> tuple[Size, Size]:
    """(TTFT, TPOT) of a house in which requests come one by one."""
    steps, length = max(workload.output_tokens - 1, 1), workload.input_tokens
    most = batching.prompts(length)
    beside = house.sequences if batching.mixes else 0.0
    requests = np.asarray(house.sequences * house.places, dtype=float)
    at_once = batching.share(length, house.sequences) * house.places
    prompt_steps = np.maximum(house.places / at_once, 1.0)
    decode_s = house.decode_step_s(host)

    def prompts_s(count: Size) -> Size:
        return house.prompt_step_s(host, np.clip(count, 1.0, np.maximum(at_once, 1.0)), most, beside)

    full_s = prompts_s(at_once)
    turn_s = full_s / at_once
    others = (requests - 1) / requests
    servers = np.maximum(at_once, 1.0)
    tpot_s: Size = decode_s
    ttft_s: Size = api_s + prompts_s(1.0)
    for _ in range(ROUNDS):
        rate = np.minimum(requests / (ttft_s + steps * tpot_s), 1 / turn_s)
        due = np.maximum(rate * tpot_s * prompt_steps * others, 1e-12)
        share = -np.expm1(-due)
        with_s = prompts_s(due / share)
        alone = 1 - share if batching.mixes else 1.0
        step_s = alone * decode_s + share * with_s
        rest_s = (alone * decode_s**2 + share * with_s**2) / (2 * step_s)
        load = np.minimum(rate * turn_s, BUSIEST)
        line_s = load ** (np.sqrt(2 * (servers + 1)) - 1) / (1 - load) * turn_s / 2
        wait_s = others * rest_s + np.minimum(line_s, (requests - 1) / 2 * turn_s)
        light_s = api_s + wait_s + prompts_s(1 + due) * prompt_steps
        full_house_s = requests * turn_s - steps * tpot_s
        ttft_s = (ttft_s + np.maximum(light_s, full_house_s)) / 2
        tpot_s = (tpot_s + (np.minimum(step_s, full_s) if batching.mixes else step_s)) / 2
    return ttft_s, tpot_s
