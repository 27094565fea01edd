"""What a step of one layout takes on its devices, as tables that a simulation reads.

A step holds decoded sequences and pieces of prompts at once, in numbers that change from step to step. Its
work splits by what it depends on:

    own      tokens on one attention rank: projections, dense layers, norms, sums over TP, transfers
    joint    tokens of all dp ranks: experts and their exchange
    head     sequences that give a token
    decode   attention of decoded sequences, by their number and mean context
    prefill  attention of a piece of a prompt, by its length and context; what only the first piece of a
             step pays is `start`

Each is priced by the rank program at points that lie evenly on a logarithmic scale, and is linear between.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardwright.cost.stages import Layers
from shardwright.cost.step import Seconds, StepCost, program_seconds, step_cost
from shardwright.cost.wires import Wires
from shardwright.engine.engine import Degrees
from shardwright.model.spec import ModelSpec
from shardwright.record import Size
from shardwright.steps.forms import Forms
from shardwright.steps.load import Load, routed_load
from shardwright.steps.operation import Phase
from shardwright.steps.program import closing
from shardwright.workload.routing import RoutingProfile

Floats = NDArray[np.float64]

POINTS_AN_OCTAVE = 2
SHORTEST_CONTEXT = 64
PIECES = 8
"""Prompts at once, which with one alone tell the cost of one more."""


class StepTimes(NamedTuple):
    """Seconds of one pass through all stages, summed over the layers. Points ascend.

    own_s, busy: (tokens,); joint_s: (all_tokens,); head_s: (sequences,); decode_s: (sequences, contexts);
    prefill_s, start_s: (tokens, contexts). busy: share of a pass that the busiest stage takes, or the
    experts that all stages share.
    """

    tokens: Floats
    own_s: Floats
    busy: Floats
    all_tokens: Floats
    joint_s: Floats
    sequences: Floats
    head_s: Floats
    contexts: Floats
    decode_s: Floats
    prefill_s: Floats
    start_s: Floats


def step_times(
    model: ModelSpec,
    degrees: Degrees,
    layers: Layers,
    wires: Wires,
    forms: Forms,
    routing: RoutingProfile,
    *,
    most_tokens: int,
    most_sequences: int,
    longest: int,
) -> StepTimes:
    """The tables of one layout: up to `most_tokens` and `most_sequences` on an attention rank and `longest`
    tokens of context."""
    dp, pp = int(np.asarray(degrees.dp)), int(np.asarray(degrees.pp))
    tokens, all_tokens = points(1, most_tokens), points(1, most_tokens * dp)
    sequences, contexts = points(1, most_sequences), points(min(SHORTEST_CONTEXT, longest), longest)

    def cost(phase: Phase, count: Size, query_tokens: Size, context: Size) -> StepCost:
        load = routed_load(
            phase,
            model=model,
            degrees=degrees,
            sequences=count,
            query_tokens=query_tokens,
            context=context,
            routing=routing,
        )
        return step_cost(model, degrees, layers, load, pp, wires, forms)

    def head(count: Size, phase: Phase) -> Seconds:
        load = Load(phase=phase, sequences=count, query_tokens=1, context=1)
        return program_seconds(closing(model, degrees, load, last=True), wires)

    alone = head(np.ones(1), "prefill")
    piece = cost("prefill", 1, tokens, tokens)
    own_s = piece.pass_s - piece.families["attention"] - _joint(piece.families, alone) - _sum(alone)
    stage = cost("prefill", 1, all_tokens / dp, all_tokens / dp)
    joint_s = np.broadcast_to(_joint(stage.families, alone), all_tokens.shape).copy()
    head_s = _sum(head(sequences, "decode"))
    count, context = (grid.ravel() for grid in np.meshgrid(sequences, contexts, indexing="ij"))
    decoded = np.reshape(cost("decode", count, 1, context).pass_s, (len(sequences), -1))
    rest_s = np.interp(sequences, tokens, own_s) + head_s + np.interp(sequences * dp, all_tokens, joint_s)
    length, behind = (grid.ravel() for grid in np.meshgrid(tokens, contexts, indexing="ij"))
    behind = np.maximum(behind, length)
    one, many = (cost("prefill", pieces, length, behind).families["attention"] for pieces in (1, PIECES))
    shape = len(tokens), len(contexts)
    more_s = np.broadcast_to(np.clip((many - one) / (PIECES - 1), 0.0, one), len(length))
    return StepTimes(
        tokens=tokens,
        own_s=own_s,
        busy=np.broadcast_to(piece.cycle_s / (pp * piece.pass_s), tokens.shape).copy(),
        all_tokens=all_tokens,
        joint_s=joint_s,
        sequences=sequences,
        head_s=head_s,
        contexts=contexts,
        decode_s=decoded - rest_s[:, None],
        prefill_s=more_s.reshape(shape).copy(),
        start_s=(one - more_s).reshape(shape),
    )


def points(least: int, most: int) -> Floats:
    """Points from `least` to `most`, both included.

    >>> points(1, 8).tolist()
    [1.0, 2.0, 3.0, 4.0, 6.0, 8.0]
    """
    octaves = np.log2(max(most / least, 1.0))
    steps = np.arange(np.ceil(octaves * POINTS_AN_OCTAVE))
    found = np.round(least * 2.0 ** (steps / POINTS_AN_OCTAVE))
    return np.unique(np.append(found, float(most)))


def _joint(families: Seconds, alone: Seconds) -> Floats:
    """Of experts and their exchange; the logits are gathered too, by the head."""
    gathered = families.get("gather", 0.0) - alone.get("gather", 0.0)
    exchanged = sum(families.get(name, 0.0) for name in ("experts", "exchange"))
    return np.asarray(np.maximum(gathered, 0.0) + exchanged, dtype=float)


def _sum(families: Seconds) -> Floats:
    return np.asarray(sum(families.values()), dtype=float)
