"""Runs of steps whose seconds lie on a straight line: step i of them takes from_s + i x more_s.

Between two points of the tables the attention of a lane is linear in its context. A step is the largest or
the sum of such lines, so its seconds are convex there: where the middle one of some steps lies on the line
between the first and the last, all do.
"""

import numpy as np

from shardwright.cost.host import Host
from shardwright.serving.compiled import compiled
from shardwright.serving.lookup import place
from shardwright.serving.step import Step, step_seconds
from shardwright.serving.times import Floats

ROUNDING = 1e-13
"""Of a step's seconds: what the sums of a dozen numbers lose."""


@compiled
def line_of_steps(
    step: Step, later: int, most: int, contexts: Floats, host: Host, running: int
) -> tuple[int, float, float]:
    """(steps, from_s, more_s) of the line that begins `later` steps after this one; `most` steps at most.

    contexts: of the tables; running: sequences of the fullest lane.
    """
    from_s = step_seconds(step, later, contexts, host, running)
    count = min(most, _until_next_point(step, later, contexts)) if most > 1 else 1
    while count > 1:
        to_s = step_seconds(step, later + count - 1, contexts, host, running)
        more_s = (to_s - from_s) / (count - 1)
        middle = (count - 1) // 2
        is_line = True
        if count > 2:
            seconds = step_seconds(step, later + middle, contexts, host, running)
            is_line = abs(seconds - from_s - middle * more_s) <= ROUNDING * to_s
        if is_line:
            return count, from_s, more_s
        count = (count + 1) // 2
    return 1, from_s, 0.0


@compiled
def _until_next_point(step: Step, later: int, contexts: Floats) -> int:
    """Steps until the mean context of some lane passes a point of the tables."""
    count = 1 << 60
    for lane in range(len(step.sequences)):
        if step.sequences[lane] == 0:
            continue
        context = step.contexts[lane] / step.sequences[lane] + later
        below, _ = place(contexts, context)
        if context < contexts[0]:
            count = min(count, int(np.floor(contexts[0] - context)) + 1)
        elif below + 1 < len(contexts) and context < contexts[-1]:
            count = min(count, int(np.floor(contexts[below + 1] - context)) + 1)
    return count


@compiled
def line_seconds(count: int, from_s: float, more_s: float) -> float:
    """Of the first `count` steps of a line."""
    return count * (from_s + (count - 1) * more_s / 2)


@compiled
def steps_until(due_s: float, most: int, from_s: float, more_s: float) -> int:
    """Of `most` steps of a line, those that begin before due_s seconds have passed; one at least."""
    if line_seconds(most - 1, from_s, more_s) < due_s:
        return most
    enough, few = most - 1, 0
    while enough - few > 1:
        middle = (enough + few) // 2
        if line_seconds(middle, from_s, more_s) < due_s:
            few = middle
        else:
            enough = middle
    return max(enough, 1)
