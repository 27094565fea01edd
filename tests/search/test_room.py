"""What fits, to the sequence and to the token, and what is bought: against brute force over the price."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.engine.engine import engine_grid
from shardwright.engine.tuning import Tuning
from shardwright.layout.grid import role
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.layout.shards import rank_shards
from shardwright.model.spec import ModelSpec
from shardwright.model.weights import weights
from shardwright.plan.deployment import Deployment
from shardwright.search.engine import engine_of
from shardwright.search.pool import fullest_rank
from shardwright.search.room import room_of
from shardwright.search.timing import price_layout, stage_layers
from tests.samples import DENSE, LATENT, REFERENCE, SMALL_MOE, WINDOWED
from tests.search.test_search import brute_force, deployment

CASES = [
    (DENSE, "vllm", "tp2.pp2"),
    (SMALL_MOE, "vllm", "tp2.dp2/ep4"),
    (LATENT, "sglang", "dp4/ep4"),
    (LATENT, "any", "tp2.pp2+ep3.shared"),
    (WINDOWED, "vllm", "tp2.dp2/ep4"),
    (WINDOWED, "trtllm", "tp2/etp2.x2"),
]


def loaded(base: Deployment, batch: int, tokens: int) -> Deployment:
    """The deployment with so many sequences of so many tokens."""
    work = {"batch": batch, "input_tokens": tokens - 1, "output_tokens": 1, "max_model_len": tokens}
    return base.model_copy(update={"workload": base.workload.model_copy(update=work)})


def over(base: Deployment, layout: Layout, batch: int, tokens: int) -> float:
    return float(np.max(price_layout(loaded(base, batch, tokens), layout).over_budget_bytes))


@settings(deadline=None, max_examples=25)
@given(
    case=st.sampled_from(CASES),
    tokens=st.integers(2, 700),
    share=st.floats(0.004, 0.05),
)
def test_one_more_does_not_fit(case: tuple[ModelSpec, str, str], tokens: int, share: float) -> None:
    model, engine, text = case
    layout = parse_layout(text)
    base = deployment(model.model_copy(update={"max_positions": 100_000}), 8, engine=engine)
    base = loaded(base.model_copy(update={"tuning": Tuning(utilisation=share, max_sequences=4)}), 8, tokens)
    room, ranks = room_of(base, layout), layout.dp * layout.copies
    if room.batch:
        assert room.batch % ranks == 0 and over(base, layout, room.batch, tokens) <= 0
    assert over(base, layout, room.batch + 1, tokens) > 0
    if room.max_model_len > 1:
        assert over(base, layout, ranks, room.max_model_len) <= 0
    assert room.all_positions == (room.max_model_len == 100_000)
    if not room.all_positions:
        assert over(base, layout, ranks, max(2, room.max_model_len + 1)) > 0


@pytest.mark.parametrize(
    ("engine", "text", "added"),
    [
        ("vllm", "tp4/ep4", {"layout": 0, "gpu": 1, "node": 4}),
        ("any", "pp2+ep2.shared", {"layout": 0, "gpu": 1}),
    ],
)
def test_bought_layouts_are_the_roomiest_of_all(engine: str, text: str, added: dict[str, int]) -> None:
    base = deployment(REFERENCE, 8, engine=engine)
    layout = parse_layout(text)

    def held(other: Layout) -> int:
        rows = price_layout(loaded(base, other.dp * other.copies, 320), other).memories
        most = [float(row.left_for_kv) // float(row.kv) for row in rows if float(row.kv)]
        fits = all(float(row.left_for_kv) >= 0 for row in rows)
        return int(min(most)) * other.dp * other.copies if fits else 0

    found = {buy.id: buy for buy in room_of(base, layout).buys}
    most = layout.num_gpus + max(added.values())
    every = [(held(other), other.num_gpus) for other in brute_force(base) if other.num_gpus <= most]
    for name, more in added.items():
        limit = layout.num_gpus + more
        assert found[name].batch == max(batch for batch, gpus in every if gpus <= limit), name
        assert found[name].num_gpus <= limit
        assert held(parse_layout(found[name].layout)) == found[name].batch


def test_fp8_kv_doubles_what_fits_and_changes_nothing_where_it_is() -> None:
    base = deployment(REFERENCE, 8, engine="vllm")
    layout = parse_layout("tp2.dp2/ep4")
    room = room_of(base, layout)
    (narrow,) = (buy for buy in room.buys if buy.id == "kv_dtype")
    assert not narrow.reason and 0 <= narrow.batch - 2 * room.batch < 2 * layout.dp
    already = deployment(REFERENCE.model_copy(update={"kv_dtype": "fp8"}), 8, engine="vllm")
    (narrow,) = (buy for buy in room_of(already, layout).buys if buy.id == "kv_dtype")
    assert narrow.reason == "the KV cache is fp8 already"
    assert narrow.batch == room_of(already, layout).batch


def test_where_nothing_fits_another_layout_does() -> None:
    base = deployment("DeepSeek-V3", 16, engine="vllm")
    room = room_of(base, parse_layout("tp8/ep8"))
    assert room.batch == room.max_model_len == 0
    bought = {buy.id: buy for buy in room.buys}
    assert bought["kv_dtype"].reason == "what is short is not KV"
    assert bought["layout"].reason and bought["node"].batch > 0


@pytest.mark.parametrize(
    ("model", "engine", "text"),
    [
        (SMALL_MOE, "vllm", "dp3/ep3"),
        (SMALL_MOE, "vllm", "tp2.dp2.pp2/ep4"),
        (DENSE, "vllm", "tp2.pp2.x2"),
        (REFERENCE, "sglang", "tp2.dp2.pp3/ep2.etp2"),
        (REFERENCE, "trtllm", "tp4.pp3/ep2.etp2"),
        (SMALL_MOE, "any", "tp2.pp2+ep3.shared"),
        (SMALL_MOE, "any", "tp2.pp3+ep3"),
    ],
)
def test_the_fullest_rank_is_named(model: ModelSpec, engine: str, text: str) -> None:
    base, layout = deployment(model, 16, engine=engine), parse_layout(text)
    cost, grid = price_layout(base, layout), engine_grid(engine_of(base), layout)
    layers = stage_layers(layout, base)
    held = [
        sum(shard.num_bytes for shard in rank_shards(weights(model), grid, layers, rank))
        for rank in range(layout.num_gpus)
    ]
    for row in cost.memories:
        rank = fullest_rank(row, grid)
        assert role(grid, rank) == row.role
        assert held[rank] == pytest.approx(float(row.weights)), "as much as the model says"
    assert max(held) == pytest.approx(max(float(row.weights) for row in cost.memories))
