"""The rank program against counts made another way: from the weights, and by hand."""

import numpy as np
import pytest

from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.model.catalog import find_model
from shardwright.model.spec import LayerShape, ModelSpec
from shardwright.model.weights import weights
from shardwright.steps.forms import Forms
from shardwright.steps.load import Load, routed_load
from shardwright.steps.operation import (
    AllReduce,
    Attention,
    Exchange,
    Gather,
    Gemm,
    GroupedExperts,
    Operation,
    Transfer,
)
from shardwright.steps.program import Stage, rank_program
from shardwright.workload.routing import RoutingProfile
from tests.samples import DENSE, LATENT, REFERENCE, SMALL_MOE, WINDOWED

WHOLE = Layout()


def load(model: ModelSpec, layout: Layout, sequences: int, phase: str = "decode", queries: int = 1) -> Load:
    return routed_load(
        phase,  # type: ignore[arg-type]
        model=model,
        degrees=layout,
        sequences=sequences,
        query_tokens=queries,
        context=512,
        routing=RoutingProfile(),
    )


def program(
    model: ModelSpec,
    layout: Layout,
    sequences: int,
    role: str = "attention+experts",
    mode: str = "all_to_all",
) -> list[Operation]:
    stage = Stage(runs=tuple((shape, 1) for shape in model.layer_shapes), first=True, last=True)
    return list(
        rank_program(model, layout, stage, load(model, layout, sequences), role, Forms(exchange=mode))  # type: ignore[arg-type]
    )


def total(operations: list[Operation], kinds: tuple[type[Operation], ...], what: str) -> float:
    return float(sum(op.times * getattr(op, what) for op in operations if isinstance(op, kinds)))


PUBLISHED = [
    find_model(name) for name in ("DeepSeek-V3", "DeepSeek-V2-Lite", "OLMoE-1B-7B-0924", "gpt-oss-20b")
]


@pytest.mark.parametrize("model", [DENSE, SMALL_MOE, LATENT, REFERENCE, WINDOWED, *PUBLISHED])
def test_a_decode_step_multiplies_every_active_weight_once_a_token(model: ModelSpec) -> None:
    """2 FLOP a token for each active parameter that is a matrix: all but norms, biases and the embedding."""
    tokens = 7
    active = 0
    for row in weights(model):
        if len(row.shape) == 2 and row.part != "embedding":
            share = 1.0 if not row.num_experts else model.experts.top_k / row.num_experts  # type: ignore[union-attr]
            active += row.num_elements * share
    done = total(program(model, WHOLE, tokens), (Gemm, GroupedExperts), "flops")
    assert done == pytest.approx(2 * tokens * active, rel=1e-12)


@pytest.mark.parametrize("model", [DENSE, SMALL_MOE, LATENT])
def test_tp_ranks_share_the_gemms(model: ModelSpec) -> None:
    """What TP slices adds up over its ranks; what it replicates (router, MLA's down-projection) does not."""
    replicated = {"router", "latent_down"}

    def sliced(operations: list[Operation]) -> float:
        return sum(float(op.flops) for op in operations if isinstance(op, Gemm) and op.name not in replicated)

    one = sliced(program(model, WHOLE, 8))
    split = sliced(program(model, Layout(tp=2, etp=2 if model.experts else 1), 8))
    assert 2 * split == pytest.approx(one)


def test_kv_projections_are_replicated_beyond_the_kv_heads() -> None:
    """8 KV heads... here 2: at tp 8 each rank keeps a whole one, so qkv is wider than an eighth."""
    qkv = next(op for op in program(SMALL_MOE, Layout(tp=8, etp=8), 1) if op.name == "qkv")
    assert isinstance(qkv, Gemm)
    assert qkv.n == (8 / 8 + 2 * 1) * 32


def test_equal_layers_counted_together_are_the_layers_one_by_one() -> None:
    layout = parse_layout("tp2.dp2/ep4")
    together = Stage(runs=((LayerShape("dense"), 1), (LayerShape("moe"), 4)), first=True, last=False)
    one_by_one = Stage(runs=tuple((shape, 1) for shape in LATENT.layer_shapes), first=True, last=False)
    tokens = load(LATENT, layout, 6)
    sums = [
        sum(
            op.times * (op.flops + op.bytes)
            for op in rank_program(LATENT, layout, stage, tokens, "attention+experts", Forms())
        )
        for stage in (together, one_by_one)
    ]
    assert sums[0] == pytest.approx(sums[1], rel=1e-12)


def test_communication_of_the_reference_layout_by_hand() -> None:
    """tp2.dp2.pp2/ep4, 32 sequences a micro-batch: per layer 2 sums over tp, dispatch and combine over 4."""
    layout = parse_layout("tp2.dp2.pp2/ep4")
    stage = Stage(runs=((LayerShape("moe"), 8),), first=True, last=False)
    found = list(
        rank_program(REFERENCE, layout, stage, load(REFERENCE, layout, 32), "attention+experts", Forms())
    )
    row_bytes = 4096 * 2
    sums = [op for op in found if isinstance(op, AllReduce)]
    assert sum(op.times for op in sums) == 1 + 2 * 8
    assert {float(op.payload_bytes) for op in sums} == {32 * row_bytes}
    exchanges = [op for op in found if isinstance(op, Exchange)]
    assert [(op.name, op.times, op.num_ranks, op.remote) for op in exchanges] == [
        ("dispatch", 8, 4, 0.75),
        ("combine", 8, 4, 0.75),
    ]
    # each rank sends its half of 32 tokens, two rows a token; the busiest one receives a little more
    assert 16 * 2 * row_bytes <= float(exchanges[0].payload_bytes) <= 1.5 * 16 * 2 * row_bytes
    sends = [op for op in found if isinstance(op, Transfer)]
    assert [(op.sends, op.payload_bytes) for op in sends] == [(True, 32 * row_bytes)]


def test_gathering_exchange_moves_all_tokens_and_no_top_k() -> None:
    """vLLM's default: every rank gathers the tokens of all dp ranks; without dp nothing is exchanged."""
    row_bytes = REFERENCE.hidden * 2
    gathers = [
        op
        for op in program(REFERENCE, parse_layout("tp2.dp2/ep4"), 16, mode="gather")
        if isinstance(op, Gather) and op.num_ranks > 1 and op.name != "logits_gather"
    ]
    assert {(op.name, float(op.payload_bytes), int(op.num_ranks)) for op in gathers} == {
        ("ep_gather", 32 * row_bytes, 4),
        ("ep_scatter", 32 * row_bytes, 4),
        ("sequence_gather", 16 * row_bytes, 2),
    }
    alone = program(REFERENCE, parse_layout("tp4/ep4"), 16, mode="gather")
    assert all(op.num_ranks == 1 for op in alone if isinstance(op, Gather) and op.name != "logits_gather")


def test_own_expert_gpus_compute_only_experts() -> None:
    layout = parse_layout("tp2.dp2+ep4")
    attention = program(REFERENCE, layout, 8, role="attention")
    experts = program(REFERENCE, layout, 8, role="experts")
    assert {op.name for op in experts} == {"dispatch", "experts", "combine"}
    assert not any(isinstance(op, GroupedExperts) for op in attention)
    paid = [
        [float(op.payload_bytes) for op in side if isinstance(op, Exchange)] for side in (attention, experts)
    ]
    assert paid[0] == paid[1], "both sides see the same exchange"
    rows = [float(op.rows) for op in experts if isinstance(op, GroupedExperts)]
    assert len(rows) == 16 and all(row >= 8 * 2 * 2 / 4 for row in rows)


@pytest.mark.parametrize(
    ("context", "queries", "kept", "seen"),
    [
        (100, 1, 100, 100),  # decode before the window of 128 is full
        (128, 1, 128, 128),
        (5000, 1, 128, 128),
        (64, 64, 64, 32.5),  # a whole prompt inside the window
        (300, 300, 300, (128 * 129 / 2 + 172 * 128) / 300),  # one that outgrows it
        (5000, 512, 639, 128),  # a later chunk: 127 tokens before it are still in its first window
    ],
)
def test_a_windowed_layer_sees_its_window(context: int, queries: int, kept: int, seen: float) -> None:
    phase = "decode" if queries == 1 else "prefill"
    tokens = Load(phase=phase, sequences=3, query_tokens=queries, context=context)  # type: ignore[arg-type]
    stage = Stage(runs=tuple((shape, 1) for shape in WINDOWED.layer_shapes[:2]), first=False, last=False)
    found = rank_program(WINDOWED, WHOLE, stage, tokens, "attention", Forms())
    windowed, full = (op for op in found if isinstance(op, Attention))
    assert (windowed.context, windowed.seen_tokens) == (kept, pytest.approx(seen))
    assert (full.context, full.seen_tokens) == (context, context - (queries - 1) / 2)
    by_hand = sum(min(128, context - queries + i) for i in range(1, queries + 1))
    assert windowed.flops == pytest.approx(3 * 2 * 8 * (32 + 32) * by_hand)
    assert windowed.bytes == 3 * kept * 2 * 2 * 32 * 2


def test_a_norm_over_all_heads_sums_two_squares_a_token() -> None:
    """OLMoE at tp 4: fp32 sums of squares of q and of k for each of 9 tokens, before each attention."""
    model = find_model("OLMoE-1B-7B-0924")
    found = program(model, parse_layout("tp4/ep4"), 9)
    sums = [op for op in found if isinstance(op, AllReduce) and op.name == "qk_norm_sum"]
    assert [(op.axis, op.num_ranks, op.payload_bytes) for op in sums] == [("tp", 4, 9 * 2 * 4)] * 16
    names = [op.name for op in found]
    assert names[names.index("qk_norm_sum") - 1] == "qkv"
    assert not any(op.name == "qk_norm_sum" for op in program(SMALL_MOE, parse_layout("tp4/ep4"), 9))


def test_experts_of_four_bits_are_read_as_such() -> None:
    expert = next(op for op in program(WINDOWED, WHOLE, 4) if isinstance(op, GroupedExperts))
    assert expert.moved_weight_bytes == expert.active * 3 * 256 * 96 * 17 / 32
    assert {op.weight_dtype for op in program(WINDOWED, WHOLE, 4) if isinstance(op, Gemm)} == {"bf16"}


def test_sizes_may_be_arrays_over_layouts() -> None:
    class Many:
        tp, dp, pp = np.array([1, 2, 4]), np.array([4, 2, 1]), 1
        ep, etp, edp = np.array([4, 4, 4]), np.array([1, 1, 1]), np.array([1, 1, 1])
        copies, redundant, home = 1, 0, "folded"

    many = total_by_layout(Many())
    for index, text in enumerate(("dp4/ep4", "tp2.dp2/ep4", "tp4/ep4")):
        assert many[index] == pytest.approx(total_by_layout(parse_layout(text)), rel=1e-12)


def total_by_layout(degrees: object) -> np.ndarray:
    stage = Stage(runs=((LayerShape("moe"), 4),), first=True, last=True)
    tokens = load(SMALL_MOE, degrees, 8)  # type: ignore[arg-type]
    found = rank_program(SMALL_MOE, degrees, stage, tokens, "attention+experts", Forms())  # type: ignore[arg-type]
    return np.asarray(sum(op.times * (op.flops + op.bytes) for op in found))
