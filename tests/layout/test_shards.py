"""Shards: every weight is covered, as often as the layout's redundancy says, and by the right ranks."""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.errors import InputError
from shardwright.layout.grid import build_grid, coordinates, role
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.layout.placement import Placement, max_slots
from shardwright.layout.shards import Shard, local_elements, rank_shards
from shardwright.layout.stages import even_stages, layer_ranges
from shardwright.model.spec import GQA, MLA, Experts, ModelSpec
from shardwright.model.weight import SHARDINGS, Weight
from shardwright.model.weights import weights
from tests.layout.layout_strategies import layouts

# Odd sizes on purpose: vocabulary 11, width 5 and 7 experts divide by nothing.
EXPERTS = Experts(num_experts=7, top_k=2, width=5, shared_width=3, shared_gate=True, correction_bias=True)
MOE = ModelSpec(
    name="gqa-moe",
    num_layers=4,
    hidden=6,
    vocab=11,
    attention=GQA(num_heads=4, num_kv_heads=2, head_dim=2, qkv_bias=True, output_bias=True, qk_norm="full"),
    experts=EXPERTS,
    dense_width=7,
    dense_layers=(0,),
    tied_embeddings=True,
    mlp_bias=True,
)
LATENT = ModelSpec(
    name="mla-moe",
    family="deepseek_v3",
    num_layers=4,
    hidden=6,
    vocab=11,
    attention=MLA(
        num_heads=4, q_lora_rank=3, kv_lora_rank=4, qk_nope_head_dim=2, qk_rope_head_dim=1, v_head_dim=2
    ),
    experts=EXPERTS,
)
FUSED = ModelSpec(
    name="fused-moe",
    family="gpt_oss",
    num_layers=4,
    hidden=6,
    vocab=11,
    attention=GQA(num_heads=4, num_kv_heads=2, head_dim=2, qkv_bias=True, output_bias=True, sinks=True),
    experts=Experts(num_experts=7, top_k=2, width=5, router_bias=True, bias=True, weight_dtype="mxfp4"),
    window=3,
    windowed_layers=(0, 2),
)
SINGLE = FUSED.model_copy(update={"name": "biased-moe", "family": "generic"})
DENSE = ModelSpec(
    name="mqa-dense",
    num_layers=4,
    hidden=6,
    vocab=11,
    attention=GQA(num_heads=4, num_kv_heads=1, head_dim=2, qk_norm="head"),
    dense_width=7,
)
JOINED = DENSE.model_copy(update={"name": "joined-dense", "family": "phi3"})
HALVES = SINGLE.model_copy(
    update={
        "name": "halved-moe",
        "family": "llama4_text",
        "experts": Experts(num_experts=7, top_k=2, width=5, shared_width=3),
    }
)
REFERENCE = ModelSpec(
    name="reference",
    num_layers=16,
    hidden=4096,
    vocab=32_000,
    attention=GQA(num_heads=32, num_kv_heads=8, head_dim=128),
    experts=Experts(num_experts=64, top_k=2, width=2304),
)

with_experts = layouts(max_degree=3).filter(
    lambda layout: layout.home != "folded" or layout.expert_ranks == layout.attention_ranks
)


def plain(layout: Layout) -> Layout:
    return layout.model_copy(update={"stage_layers": ()})


def held_by_rank(spec: ModelSpec, layout: Layout) -> list[list[Shard]]:
    """What each rank holds."""
    rows, counts = weights(spec), even_stages(spec.num_layers, layout.pp)
    grid = build_grid(layout)
    return [rank_shards(rows, grid, counts, rank) for rank in range(layout.num_gpus)]


def replicas(expert: int, num_experts: int, redundant: int) -> int:
    """Slots of an expert when the redundant ones go round from the first."""
    return 1 + redundant // num_experts + (expert < redundant % num_experts)


def multiplicity(weight: Weight, layout: Layout) -> np.ndarray | int:
    """How often each element of one copy must be held, from the text of the rules alone."""
    if weight.sharding == "replicate":
        return layout.dp * layout.tp
    if weight.sharding == "kv_heads":
        head_of_rank = [rank * weight.num_units // layout.tp for rank in range(layout.tp)]
        times = Counter(head_of_rank) if weight.num_units < layout.tp else Counter(range(weight.num_units))
        per_head = np.array([times[head] for head in range(weight.num_units)])
        per_row = np.repeat(per_head, weight.shape[0] // weight.num_units)
        return layout.dp * per_row.reshape(-1, *[1] * (len(weight.shape) - 1))
    return layout.dp


@settings(max_examples=100, deadline=None)
@given(with_experts, st.sampled_from([MOE, LATENT, FUSED, SINGLE, DENSE, JOINED, HALVES]))
def test_every_element_is_held_as_often_as_the_layout_says(layout: Layout, spec: ModelSpec) -> None:
    layout = plain(layout)
    by_rank = held_by_rank(spec, layout)
    copies: list[dict[str, np.ndarray]] = [defaultdict(lambda: np.zeros(())) for _ in range(layout.copies)]
    for rank, shards in enumerate(by_rank):
        counts = copies[rank // layout.gpus_per_copy]
        for shard in shards:
            if shard.name not in counts:
                counts[shard.name] = np.zeros(shard.weight.tensor_shape, dtype=int)
            counts[shard.name][shard.slices] += 1
            assert shard.num_elements == np.zeros(shard.weight.tensor_shape)[shard.slices].size
    expected: dict[str, np.ndarray | int] = {}
    expected_bytes = 0.0
    for weight in weights(spec):
        if weight.num_experts:
            held = [
                layout.edp * replicas(expert, weight.num_experts, layout.redundant)
                for expert in range(weight.num_experts)
            ]
            if weight.fused_experts:
                expected[weight.name] = np.reshape(held, (-1, *[1] * len(weight.shape)))
            else:
                expected |= {weight.name.replace("{expert}", str(e)): n for e, n in enumerate(held)}
            slots = weight.num_experts + layout.redundant
            expected_bytes += layout.edp * weight.num_bytes * slots / weight.num_experts
        else:
            times = multiplicity(weight, layout)
            if weight.part == "embedding" and spec.tied_embeddings and layout.pp > 1:
                times = 2 * layout.dp
            # Parts of one tensor add up in it; any other row is the whole of its tensor.
            start = weight.starts_at
            whole = np.zeros(weight.tensor_shape, dtype=int)
            whole[start : start + weight.shape[0]] = times
            expected[weight.name] = expected.get(weight.name, 0) + whole
            expected_bytes += float(np.broadcast_to(times, weight.shape).sum() * weight.bytes_per_element)
    for counts in copies:
        assert set(counts) == set(expected)
        for name, count in counts.items():
            assert np.array_equal(count, np.broadcast_to(expected[name], count.shape)), name
    total = sum(shard.num_bytes for shards in by_rank for shard in shards)
    assert total == pytest.approx(layout.copies * expected_bytes, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(with_experts, st.sampled_from([MOE, LATENT, FUSED]))
def test_roles_and_stages_hold_what_is_theirs(layout: Layout, spec: ModelSpec) -> None:
    layout = plain(layout)
    grid = build_grid(layout)
    stages = layer_ranges(even_stages(spec.num_layers, layout.pp))
    for rank, shards in enumerate(held_by_rank(spec, layout)):
        parts = {shard.weight.part for shard in shards}
        place = coordinates(grid, rank)
        if role(grid, rank) == "experts":
            assert parts <= {"expert"}
        else:
            assert {"attention", "norm"} <= parts
            assert ("embedding" in parts) == (place.stage == 0)
            tied_alone = spec.tied_embeddings and layout.pp == 1
            assert ("head" in parts) == (place.stage == layout.pp - 1 and not tied_alone)
        if role(grid, rank) == "attention":
            assert "expert" not in parts
        layers = {shard.weight.layer for shard in shards} - {None}
        assert layers <= set(range(spec.num_layers) if place.stage is None else stages[place.stage])


@pytest.mark.parametrize(
    ("num_heads", "num_kv_heads", "tp"), [(8, 2, 8), (8, 4, 2), (8, 2, 4), (8, 8, 4), (8, 1, 4)]
)
def test_a_rank_holds_the_kv_heads_of_its_query_heads(num_heads: int, num_kv_heads: int, tp: int) -> None:
    spec = DENSE.model_copy(
        update={"attention": GQA(num_heads=num_heads, num_kv_heads=num_kv_heads, head_dim=2)}
    )
    for shards in held_by_rank(spec, Layout(tp=tp)):
        rows = {re.sub(r".*\.(\w_proj)\.weight", r"\1", shard.name): shard.slices for shard in shards}
        query_heads = range(rows["q_proj"][0].start // 2, rows["q_proj"][0].stop // 2)
        needed = {head * num_kv_heads // num_heads for head in query_heads}
        assert set(range(rows["k_proj"][0].start // 2, rows["k_proj"][0].stop // 2)) == needed
        assert rows["k_proj"] == rows["v_proj"]
        assert rows["o_proj"][1] == rows["q_proj"][0]


@settings(max_examples=40, deadline=None)
@given(with_experts, st.sampled_from([MOE, LATENT, FUSED, SINGLE, DENSE]))
def test_local_elements_is_the_largest_shard(layout: Layout, spec: ModelSpec) -> None:
    layout = plain(layout)
    largest: dict[tuple[int, str], int] = defaultdict(int)
    for rank, shards in enumerate(held_by_rank(spec, layout)):
        for shard in shards:
            largest[rank, shard.weight.name] += shard.num_elements
    for weight in weights(spec):
        slots = max_slots(weight.num_experts, layout.redundant, layout.ep) if weight.num_experts else 1
        found = local_elements(weight, layout, slots)
        assert found == max(size for (_, name), size in largest.items() if name == weight.name)


class Many:
    tp = np.array([1, 2, 4, 8])
    etp = np.array([1, 1, 2, 5])


@pytest.mark.parametrize("spec", [MOE, LATENT, FUSED, SINGLE, DENSE])
def test_local_elements_takes_arrays(spec: ModelSpec) -> None:
    slots = np.array([7, 4, 2, 1])
    for weight in weights(spec):
        found = np.broadcast_to(local_elements(weight, Many(), slots), (4,))
        singly = [
            local_elements(weight, Layout(tp=tp, etp=etp, home="per_stage"), count)
            for tp, etp, count in zip(Many.tp.tolist(), Many.etp.tolist(), slots.tolist(), strict=True)
        ]
        assert found.tolist() == singly


EXPERT_BYTES = 3 * 4096 * 2304 * 2
ATTENTION_BYTES = 2 * 4096 * (32 + 8) * 128 * 2  # q and o of 32 heads, k and v of 8
WHOLE_BYTES = (64 + 2) * 4096 * 2  # router and two norms
EMBEDDING_BYTES = 32_000 * 4096 * 2
NORM_BYTES = 4096 * 2


@pytest.mark.parametrize(
    ("text", "rank", "num_bytes"),
    [
        (
            "tp2.dp2.pp2/ep4",
            0,
            8 * (16 * EXPERT_BYTES + ATTENTION_BYTES // 2 + WHOLE_BYTES) + EMBEDDING_BYTES // 2,
        ),
        (
            "tp2.dp2.pp2/ep4",
            7,
            8 * (16 * EXPERT_BYTES + ATTENTION_BYTES // 2 + WHOLE_BYTES) + EMBEDDING_BYTES // 2 + NORM_BYTES,
        ),
        ("tp2.pp2+ep4.shared", 0, 8 * (ATTENTION_BYTES // 2 + WHOLE_BYTES) + EMBEDDING_BYTES // 2),
        ("tp2.pp2+ep4.shared", 7, 16 * 16 * EXPERT_BYTES),
    ],
)
def test_bytes_of_the_reference_by_hand(text: str, rank: int, num_bytes: int) -> None:
    grid = build_grid(parse_layout(text))
    shards = rank_shards(weights(REFERENCE), grid, (8, 8), rank)
    assert sum(shard.num_bytes for shard in shards) == num_bytes


def test_expert_slots_of_the_reference() -> None:
    grid = build_grid(parse_layout("tp2.dp2.pp2/ep4"))
    shards = rank_shards(weights(REFERENCE), grid, (8, 8), 6)
    held = {(shard.weight.layer, shard.slot) for shard in shards if shard.slot is not None}
    assert held == {(layer, slot) for layer in range(8, 16) for slot in range(32, 48)}


def test_a_placement_of_its_own_for_one_layer() -> None:
    layout = parse_layout("dp2/ep2")
    swapped = Placement(num_experts=7, ep=2, experts=(6, 5, 4, 3, 2, 1, 0), ranks=(0, 0, 0, 1, 1, 1, 1))
    shards = rank_shards(weights(MOE), build_grid(layout), (4,), 0, {2: swapped})
    names = defaultdict(set)
    for shard in shards:
        if shard.slot is not None:
            names[shard.weight.layer].add(int(re.findall(r"experts\.(\d+)", shard.name)[0]))
    assert names == {1: {0, 1, 2, 3}, 2: {4, 5, 6}, 3: {0, 1, 2, 3}}


@pytest.mark.parametrize("spec", [MOE, FUSED, SINGLE])
def test_a_value_that_is_summed_lives_on_the_first_rank_only(spec: ModelSpec) -> None:
    first, second = held_by_rank(spec, parse_layout("tp2/etp2"))
    summed = {row.sharding for row in weights(spec)} & {n for n, rule in SHARDINGS.items() if rule.first_rank}
    assert summed == {"first_rank", "expert_first_rank"} if spec.experts.bias else {"first_rank"}  # type: ignore[union-attr]
    assert {shard.weight.sharding for shard in first} >= summed
    assert not any(shard.weight.sharding in summed for shard in second)


def test_slices_of_fused_experts_hold_whole_pairs() -> None:
    """Width 5 over etp 2: three gate-up pairs and two, beside the rows of down_proj that they feed."""
    first, second = held_by_rank(FUSED, parse_layout("tp2.dp2/ep2.etp2"))[2:]
    for shards, pairs in ((first, slice(0, 3)), (second, slice(3, 5))):
        found = {
            shard.name.split(".")[-1]: shard.slices
            for shard in shards
            if shard.weight.layer == 1 and shard.slot == 5
        }
        columns = slice(2 * pairs.start, 2 * pairs.stop)
        assert found["gate_up_proj"] == (slice(5, 6), slice(0, 6), columns)
        assert found["gate_up_proj_bias"] == (slice(5, 6), columns)
        assert found["down_proj"] == (slice(5, 6), pairs, slice(0, 6))
        assert ("down_proj_bias" in found) == (shards is first)


def test_a_model_with_experts_needs_a_grid_of_experts() -> None:
    grid = build_grid(parse_layout("tp2"))
    with pytest.raises(InputError, match=r"tp2.*etp x ep x edp"):
        rank_shards(weights(MOE), grid, (4,), 0)
    assert rank_shards(weights(DENSE), grid, (4,), 0)
