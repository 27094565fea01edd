"""The groups of every engine by its own formula, in nested loops: nothing here comes from layout/grid.py.

Each function gives axis -> groups of one layout, every group in the order in which the engine's source lists
it. An engine that knows nothing of an axis has groups of one rank on it.
"""

from collections.abc import Callable
from math import prod

from shardwright.layout.layout import Layout

Groups = dict[str, list[list[int]]]
AXES = ("tp", "dp", "pp", "ep", "etp", "edp")


def vllm(layout: Layout) -> Groups:
    """vLLM 0.33.0, vllm/distributed/parallel_state.py, initialize_model_parallel; 0.32.0 lines 2126-2301.

    The world is ExternalDP x DP x PP x PCP x TP; the groups of an axis are that axis turned to the last
    place. EP is (DP, PCP, TP) of one (ExternalDP, PP). With expert parallelism off the experts are sliced
    over those same ranks: model_executor/layers/fused_moe/config.py, flatten_tp_across_dp_and_pcp.
    """
    copies, dp, pp, tp = (range(size) for size in (layout.copies, layout.dp, layout.pp, layout.tp))

    def rank(x: int, d: int, p: int, t: int) -> int:
        return ((x * layout.dp + d) * layout.pp + p) * layout.tp + t

    stages = [[rank(x, d, p, t) for d in dp for t in tp] for x in copies for p in pp]
    alone = [[r] for r in range(layout.num_gpus)]
    return {
        "tp": [[rank(x, d, p, t) for t in tp] for x in copies for d in dp for p in pp],
        "dp": [[rank(x, d, p, t) for d in dp] for x in copies for p in pp for t in tp],
        "pp": [[rank(x, d, p, t) for p in pp] for x in copies for d in dp for t in tp],
        "ep": stages if layout.ep > 1 else alone,
        "etp": alone if layout.ep > 1 else stages,
        "edp": alone,
    }


def sglang(layout: Layout) -> Groups:
    """SGLang 0.5.23, sglang/srt/distributed/parallel_state.py:2687-2968, initialize_model_parallel.

    tp_size is all ranks of a stage; attention TP, MoE EP, TP and DP are ranges with a step inside it.
    """
    tp_size, pp_size = layout.tp * layout.dp, layout.pp
    attn_tp, attn_dp = layout.tp, layout.dp
    moe_ep, moe_tp, moe_dp = layout.ep, layout.etp, layout.edp
    world, starts = tp_size * pp_size, range(0, tp_size * pp_size, tp_size)
    one = {
        "tp": [[*range(s + i * attn_tp, s + (i + 1) * attn_tp)] for s in starts for i in range(attn_dp)],
        # runtime_context.py:78-92, derive_attention_ranks: attn_dp_rank = tp_rank // attn_tp_size.
        "dp": [[*range(s + i, s + tp_size, attn_tp)] for s in starts for i in range(attn_tp)],
        "pp": [[*range(i, world, world // pp_size)] for i in range(world // pp_size)],
        "ep": [
            [*range(first, first + moe_ep * moe_tp, moe_tp)]
            for s in starts
            for i in range(moe_dp)
            for j in range(moe_tp)
            for first in [s + i * moe_ep * moe_tp + j]
        ],
        "etp": [
            [*range(s + i * moe_tp, s + (i + 1) * moe_tp)] for s in starts for i in range(moe_ep * moe_dp)
        ],
        "edp": [
            [*range(s + i, s + tp_size + i, moe_tp * moe_ep)] for s in starts for i in range(moe_tp * moe_ep)
        ],
    }
    return _copied(one, layout)


def tensorrt_llm(layout: Layout) -> Groups:
    """TensorRT-LLM, tensorrt_llm/mapping.py, Mapping.__init__ ('init pp group' to 'init moe ep group').

    tp_size is all ranks of a stage: attention TP over them, or, under attention DP, every rank alone with
    its own tokens. Neither context parallelism nor a MoE cluster.
    """
    tp_size, pp_size = layout.tp * layout.dp, layout.pp
    moe_tp, moe_ep = layout.etp, layout.ep
    world, starts = tp_size * pp_size, range(0, tp_size * pp_size, tp_size)
    stages = [[*range(s, s + tp_size)] for s in starts]
    alone = [[r] for r in range(world)]
    one = {
        "tp": alone if layout.dp > 1 else stages,
        "dp": stages if layout.dp > 1 else alone,
        "pp": [[*range(i, world, tp_size)] for i in range(tp_size)],
        "ep": [[*range(s + j * moe_ep, s + (j + 1) * moe_ep)] for s in starts for j in range(moe_tp)],
        "etp": [[*range(s + j, s + tp_size, moe_ep)] for s in starts for j in range(moe_ep)],
        "edp": alone,
    }
    return _copied(one, layout)


def megatron(layout: Layout) -> Groups:
    """Megatron-Core 0.16.1, megatron/core/parallel_state.py:251-355,773-806: two RankGenerators.

    Both have the order tp-cp-ep-dp-pp, fastest first; the one of experts has ETP, EP and EDP in it.
    """
    attention = {"tp": layout.tp, "dp": layout.dp, "pp": layout.pp}
    experts = {"etp": layout.etp, "ep": layout.ep, "edp": layout.edp, "pp": layout.pp}
    assert _orthogonal(attention, "pp") == _orthogonal(experts, "pp"), "parallel_state.py:814-817 asserts it"
    one = {axis: _orthogonal(sizes, axis) for sizes in (attention, experts) for axis in sizes}
    return _copied(one, layout)


def deepspeed(layout: Layout) -> Groups:
    """DeepSpeed, deepspeed/utils/groups.py, the docstring of _create_expert_data_and_model_parallel.

    For EP = DP: the ranks of one tensor slice, TP apart, hold the experts between them.
    """
    assert layout.ep == layout.dp
    tp, stage = layout.tp, layout.tp * layout.dp
    starts = range(0, stage * layout.pp, stage)
    slices = [[*range(s + i, s + stage, tp)] for s in starts for i in range(tp)]
    rows = [[*range(s + i, s + i + tp)] for s in starts for i in range(0, stage, tp)]
    one = {
        "tp": rows,
        "dp": slices,
        "pp": [[*range(i, stage * layout.pp, stage)] for i in range(stage)],
        "ep": slices,
        "etp": [[r] for r in range(stage * layout.pp)],
        "edp": rows,
    }
    return _copied(one, layout)


def ours(layout: Layout) -> Groups:
    """Shardwright's runtime, by counting off: the stages of a copy, each (dp, tp) and then its own experts.

    Experts are (edp, ep, etp); folded ones count over the attention ranks, shared ones come last in a copy.
    """
    found: Groups = {axis: [] for axis in AXES}
    stage, grid = layout.tp * layout.dp, layout.etp * layout.ep * layout.edp
    behind = grid if layout.home == "per_stage" else 0
    for copy in range(layout.copies):
        first = copy * layout.gpus_per_copy
        starts = [first + p * (stage + behind) for p in range(layout.pp)]
        found["pp"] += [[s + i for s in starts] for i in range(stage)]
        for s in starts:
            found["tp"] += [[*range(s + i, s + i + layout.tp)] for i in range(0, stage, layout.tp)]
            found["dp"] += [[*range(s + i, s + stage, layout.tp)] for i in range(layout.tp)]
        at = {
            "folded": starts,
            "per_stage": [s + stage for s in starts],
            "shared": [first + layout.pp * stage],
        }[layout.home]
        block = layout.ep * layout.etp
        for s in at:
            found["etp"] += [[*range(s + i, s + i + layout.etp)] for i in range(0, grid, layout.etp)]
            found["ep"] += [
                [*range(s + i + j, s + i + block, layout.etp)]
                for i in range(0, grid, block)
                for j in range(layout.etp)
            ]
            found["edp"] += [[*range(s + i, s + grid, block)] for i in range(block)]
    return found


FORMULAS: dict[str, Callable[[Layout], Groups]] = {
    "vllm": vllm,
    "sglang": sglang,
    "trtllm": tensorrt_llm,
    "megatron": megatron,
    "gshard": deepspeed,
    "shardwright": ours,
}


def _orthogonal(sizes: dict[str, int], axis: str) -> list[list[int]]:
    """generate_masked_orthogonal_rank_groups: a rank is a number whose digits are its places on the axes."""
    axes = list(sizes)
    inside = prod(sizes[name] for name in axes[: axes.index(axis)])
    outside = prod(sizes[name] for name in axes[axes.index(axis) + 1 :])
    block = inside * sizes[axis]
    return [[*range(o * block + i, (o + 1) * block, inside)] for o in range(outside) for i in range(inside)]


def _copied(one: Groups, layout: Layout) -> Groups:
    """The groups of every copy: copies are servers of their own, one after the other."""
    starts = range(0, layout.num_gpus, layout.gpus_per_copy)
    return {
        axis: [[start + rank for rank in ranks] for start in starts for ranks in groups]
        for axis, groups in one.items()
    }
