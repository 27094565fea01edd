"""One copy of the model under load: its requests and the lanes that they run in, as arrays.

A copy has dp x pp lanes, the attention ranks of a stage times the micro-batches under way: lane
micro_batch x dp + rank. The ranks of a micro-batch step together and wait for the slowest; micro-batches
take turns in every stage.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardwright.serving.times import Floats

Ints = NDArray[np.int64]

NOBODY = -1


class House(NamedTuple):
    """State of a copy. Requests stand in the order in which they are sent; times in seconds.

    ready_s: when the scheduler may see it. admitted_s: when it first ran; first_s, last_s: its first and its
    latest token. length: tokens of prompt; answer: tokens wanted; made: had; filled: tokens of KV; goal:
    those that it must have before it decodes; piece: those of them that this step makes. behind: who waits
    next.

    For each lane: first_waiting, last_waiting, num_waiting, num_running; running: (lanes, slots), oldest
    first, so that those who decode stand before those who fill their prompts. Of those who run: decoding, how
    many decode; contexts, their tokens of KV; held: of all, what is still to be filled with it; owed: tokens
    of answers to come; shortest: the fewest that one of them waits for.
    """

    sent_s: Floats
    ready_s: Floats
    admitted_s: Floats
    first_s: Floats
    last_s: Floats
    length: Ints
    answer: Ints
    made: Ints
    filled: Ints
    goal: Ints
    piece: Ints
    behind: Ints
    first_waiting: Ints
    last_waiting: Ints
    num_waiting: Ints
    num_running: Ints
    running: Ints
    decoding: Ints
    contexts: Ints
    held: Ints
    owed: Ints
    shortest: Ints


def empty_house(length: Ints, answer: Ints, num_lanes: int, slots: int) -> House:
    """A copy to which none of the requests has come yet; `slots` sequences run in a lane at most."""
    count = len(length)

    def never() -> Floats:
        return np.full(count, np.inf)

    def none(size: int = count) -> Ints:
        return np.zeros(size, dtype=np.int64)

    return House(
        sent_s=never(),
        ready_s=never(),
        admitted_s=never(),
        first_s=never(),
        last_s=never(),
        length=length,
        answer=answer,
        made=none(),
        filled=none(),
        goal=none(),
        piece=none(),
        behind=np.full(count, NOBODY),
        first_waiting=np.full(num_lanes, NOBODY),
        last_waiting=np.full(num_lanes, NOBODY),
        num_waiting=none(num_lanes),
        num_running=none(num_lanes),
        running=np.full((num_lanes, max(1, min(slots, count))), NOBODY),
        decoding=none(num_lanes),
        contexts=none(num_lanes),
        held=none(num_lanes),
        owed=none(num_lanes),
        shortest=none(num_lanes),
    )
