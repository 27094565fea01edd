"""What the clients of a closed loop see, in closed form: of one layout, or of each of many.

`batch` requests are in flight; as one ends, its client sends the next, REQUESTS_A_CLIENT in all. The first
wave comes at once, and its prompts fill steps one behind the other. What comes later depends on the lengths:
where all are equal, requests that were filled together end together and come back as a bunch (bunches.py);
where they vary, requests soon come one by one (apart.py).

`serving/` plays the same load step by step; tests/search/test_closed_loop.py holds them together.
"""

from dataclasses import dataclass

import numpy as np

from shardwright.cost.apart import later_apart
from shardwright.cost.bunches import Wave, later_bunches
from shardwright.cost.host import Host
from shardwright.cost.house import Batching, House
from shardwright.record import Size
from shardwright.workload.workload import REQUESTS_A_CLIENT, Workload


@dataclass(frozen=True, kw_only=True)
class Served:
    """The means of what clients see, from the first request to the last.

    step_s: token to token while all only decode, the host's time with it.
    """

    step_s: Size
    tpot_s: Size
    ttft_s: Size
    throughput_tokens_per_s: Size


def serve(workload: Workload, batching: Batching, host: Host, house: House) -> Served:
    """What the clients see."""
    answer = workload.output_tokens
    steps = max(answer - 1, 1)
    decode_s = house.decode_step_s(host)
    api_s = host.api_s + host.api_token_s * workload.input_tokens
    filled = np.minimum(batching.prompts(workload.input_tokens), house.sequences)
    first = Wave.of(workload, batching, host, house, decoding=(house.sequences - filled) / 2)
    waited_s, met = first.at_once()
    first_s = api_s + waited_s, first.tpot_s(decode_s, met, steps, mixes=batching.mixes)
    # From the mean end to the last.
    tail_s: Size
    if workload.spread > 0:
        later_s = later_apart(workload, batching, host, house, api_s)
        tail_s = workload.spread * steps * later_s[1]
    elif batching.mixes:
        later_s, tail_s = later_bunches(workload, batching, host, house, api_s)
    else:
        later_s, tail_s = first_s, 0.0
    share = 1 / REQUESTS_A_CLIENT
    ttft_s, tpot_s = (
        share * of_first + (1 - share) * of_later for of_first, of_later in zip(first_s, later_s, strict=True)
    )
    lasts_s = ttft_s + (answer - 1) * tpot_s + share * tail_s
    return Served(
        step_s=decode_s,
        tpot_s=tpot_s,
        ttft_s=ttft_s,
        throughput_tokens_per_s=workload.batch * answer / lasts_s,
    )
