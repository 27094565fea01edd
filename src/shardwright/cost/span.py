"""How many nodes the groups of each axis touch, for one layout or for arrays of them.

Groups are built of blocks of neighbouring ranks at a fixed stride, starting at multiples of a period.
Exact where blocks do not straddle nodes (every layout whose degrees divide the node); else never too few.
The exact groups of a single layout are layout/grid.py's. Priced, a "node" is a scale-up domain: the GPUs of a
node, or of several (NVL72).
"""

from dataclasses import dataclass

import numpy as np

from shardwright.engine.engine import Degrees, Engine
from shardwright.record import Size


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """Groups of `count` blocks of `block` neighbouring ranks, their starts `stride` apart.

    `lanes` such groups lie side by side, `lane_stride` apart, and all repeats every `period` ranks.
    """

    block: Size
    count: Size = 1
    stride: Size = 1
    lanes: Size = 1
    lane_stride: Size = 1
    period: Size


def axis_nodes(engine: Engine, degrees: Degrees, gpus_per_node: int) -> dict[str, Size]:
    """Nodes that the worst group of each axis touches. Copies start alike: one counts.

    The near ranks of a TP group share a node, the far ones are one on each.
    """
    copy_gpus = _copy_gpus(degrees)
    inside = np.asarray(copy_gpus) <= gpus_per_node
    nodes: dict[str, Size] = {"tp_near": 1}
    for axes, pattern in _patterns(engine, degrees).items():
        touched = np.where(inside, 1, nodes_touched(pattern, copy_gpus, gpus_per_node))
        nodes |= dict.fromkeys(axes, touched)
    return nodes


def nodes_touched(pattern: Pattern, num_gpus: Size, gpus_per_node: int) -> Size:
    """The most nodes that one group of the pattern touches."""
    stride = np.where(np.asarray(pattern.count) > 1, pattern.stride, 1)
    reach = (pattern.count - 1) * stride + pattern.block - 1
    # Groups start on multiples of `step` in a node, shifted by their lane: the latest start is worst.
    period = np.asarray(pattern.period)
    step = np.where(period < num_gpus, np.gcd(period, gpus_per_node), gpus_per_node)
    shift = (np.asarray(pattern.lanes) - 1) * pattern.lane_stride
    latest = gpus_per_node - step + np.where(shift < step, shift, step - np.gcd(pattern.lane_stride, step))
    worst = (latest + reach) // gpus_per_node + 1
    # Blocks a node or more apart do not touch the nodes between them.
    block = np.maximum(pattern.block, 1)
    aligned = (gpus_per_node % block == 0) | (block % gpus_per_node == 0)
    straddled = (gpus_per_node + block - 2) // gpus_per_node + 1
    apart = pattern.count * np.where(aligned, -(-block // gpus_per_node), straddled)
    return np.where(stride >= gpus_per_node, np.minimum(worst, apart), worst)


def _copy_gpus(degrees: Degrees) -> Size:
    experts = degrees.etp * degrees.ep * degrees.edp
    own = {"folded": 0, "per_stage": degrees.pp * experts, "shared": experts}[degrees.home]
    return degrees.pp * degrees.tp * degrees.dp + own


def _patterns(engine: Engine, degrees: Degrees) -> dict[tuple[str, ...], Pattern]:
    """By the axes whose groups are placed alike."""
    tp, dp, pp = degrees.tp, degrees.dp, degrees.pp
    attention = tp * dp
    copy = _copy_gpus(degrees)
    if degrees.home != "folded":
        stage = attention + (degrees.etp * degrees.ep * degrees.edp if degrees.home == "per_stage" else 0)
        whole = stage if degrees.home == "per_stage" else copy
        aligned = np.gcd(np.gcd(tp, stage), copy)
        return {
            ("tp", "tp_far"): Pattern(block=tp, period=aligned),
            ("dp",): Pattern(block=1, count=dp, stride=tp, lanes=tp, period=np.gcd(stage, copy)),
            ("exchange",): Pattern(block=whole, period=whole),
            ("pp",): Pattern(block=copy, period=copy),
        }
    if engine.rank_order.index("dp") < engine.rank_order.index("pp"):
        spread = pp * tp
        experts = Pattern(block=tp, count=dp, stride=spread, lanes=pp, lane_stride=tp, period=copy)
        return {
            ("tp", "tp_far"): Pattern(block=tp, period=tp),
            ("dp",): Pattern(block=1, count=dp, stride=spread, lanes=spread, period=copy),
            ("ep", "etp", "exchange"): experts,
            ("pp",): Pattern(block=spread, period=spread),
        }
    exchange = Pattern(
        block=1, count=degrees.ep, stride=degrees.etp, lanes=degrees.etp, period=degrees.ep * degrees.etp
    )
    return {
        ("tp", "tp_far"): Pattern(block=tp, period=tp),
        ("dp",): Pattern(block=1, count=dp, stride=tp, lanes=tp, period=attention),
        ("etp",): Pattern(block=degrees.etp, period=degrees.etp),
        ("ep", "exchange"): exchange,
        ("pp",): Pattern(block=copy, period=copy),
    }
