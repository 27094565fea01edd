"""Requests of equal lengths: those that were filled in one step end in one step, and come back as a bunch.

So requests come in waves of N bunches (a prompt that needs k steps is a bunch of its own). A wave takes about
as many steps as an answer has tokens; N k of them fill prompts, each in m seconds, and the others only
decode, each in d. An engine that mixes goes on decoding in the steps that fill prompts. While the first bunch
that ended is on its way back to the scheduler, others end: J of them wait in line then, and each later bunch
finds a line as long. The i-th bunch waits for min(i, J) turns of k m; the other N - min(i, J) turns it meets
while it decodes. Where a wave comes at once, J is N. So does every wave of an engine that does not mix: there
all who decode stand still while prompts are filled, and end together.
"""

from dataclasses import dataclass

import numpy as np

from shardwright.cost.host import Host
from shardwright.cost.house import Batching, House
from shardwright.record import Size
from shardwright.workload.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Wave:
    """bunches: N; turn_steps: k, of a bunch; prompt_s: m, a step that fills prompts."""

    bunches: Size
    turn_steps: Size
    prompt_s: Size

    @classmethod
    def of(
        cls, workload: Workload, batching: Batching, host: Host, house: House, *, decoding: Size
    ) -> "Wave":
        """The prompts of all sequences, while `decoding` of each place decode beside them."""
        length, most = workload.input_tokens, batching.prompts(workload.input_tokens)
        share = batching.share(length, decoding)
        turn_steps = np.maximum(1 / share, 1.0)
        turns = house.sequences / np.maximum(share, 1.0)
        filled = np.minimum(most, house.sequences)
        beside = decoding if batching.mixes else 0.0
        return cls(
            bunches=np.maximum(turns if batching.splits else np.ceil(turns), 1.0),
            turn_steps=turn_steps,
            prompt_s=house.prompt_step_s(host, filled * house.places, most, beside),
        )

    def at_once(self) -> tuple[Size, Size]:
        """(seconds that a bunch waits for, steps with prompts that it meets later) where all come at once."""
        waits_s = self.turn_steps * (self.bunches + 1) / 2 * self.prompt_s
        return waits_s, self.turn_steps * (self.bunches - 1) / 2

    def tpot_s(self, decode_s: Size, met: Size, steps: int, *, mixes: bool) -> Size:
        """Of answers of `steps` steps that meet so many with prompts: some of their own, or others beside
        them."""
        if not mixes:
            return decode_s + met * self.prompt_s / steps
        return decode_s + np.minimum(met, steps) / steps * (self.prompt_s - decode_s)


def later_bunches(
    workload: Workload, batching: Batching, host: Host, house: House, api_s: float
) -> tuple[tuple[Size, Size], Size]:
    """((TTFT, TPOT), seconds from the mean end to the last) of waves that come bunch by bunch.

    Where the prompts take more steps than the answers, so many wait that some end in every step.
    """
    steps, decode_s = max(workload.output_tokens - 1, 1), house.decode_step_s(host)
    filled = np.minimum(batching.prompts(workload.input_tokens), house.sequences)
    turn = np.maximum(1 / batching.share(workload.input_tokens, house.sequences - filled), 1.0)
    way_steps = api_s / decode_s
    ended = 1 + np.ceil(way_steps) / turn
    wave = Wave.of(
        workload, batching, host, house, decoding=np.maximum(house.sequences - ended * filled, 0.0)
    )
    bunches, turn = wave.bunches, wave.turn_steps
    # Whoever is back waits for the step that runs, unless all have ended by then.
    ended = 1 + np.where(way_steps >= (bunches - 1) * turn, way_steps, np.ceil(way_steps)) / turn
    line, least = np.minimum(ended, bunches), bunches - steps / turn
    turns = np.where(line < bunches, line * ((1 - line) / 2 + bunches) / bunches, (bunches + 1) / 2)
    # Steps without prompts that pass before the first turn: fewer for each later bunch of the line.
    idle = np.where(ended < bunches, ended * (ended - 1) / 2 / bunches, ended - (bunches + 1) / 2)
    is_full = least > line
    turns, idle = np.where(is_full, least, turns), np.where(is_full, 0.0, idle)
    ttft_s = turn * (turns * wave.prompt_s + idle * decode_s)
    tpot_s = wave.tpot_s(decode_s, turn * np.maximum(bunches - turns, 0.0), steps, mixes=True)
    return (ttft_s, tpot_s), turn * (bunches - 1) / 2 * decode_s
