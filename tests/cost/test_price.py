"""Prices over arrays are the program summed layout by layout; the pipeline formula is a simulation."""

import heapq
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.cost.price import Price, price, wires_of
from shardwright.cost.stages import stages
from shardwright.cost.step import program_seconds, step_cost
from shardwright.engine.catalog import ENGINES
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.model.catalog import find_model
from shardwright.model.spec import LayerShape, ModelSpec
from shardwright.record import Size
from shardwright.search.candidates import ARRAYS, Candidates
from shardwright.steps.forms import Forms
from shardwright.steps.load import Load, routed_load
from shardwright.steps.program import Stage, rank_program
from shardwright.workload.routing import RoutingProfile
from shardwright.workload.workload import Workload
from tests.samples import DENSE, LATENT, REFERENCE, SMALL_MOE, WINDOWED, cluster

WORKLOAD = Workload(
    batch=96,
    input_tokens=700,
    output_tokens=100,
    max_model_len=1024,
    routing=RoutingProfile(kind="zipf", exponent=0.6),
)

LAYOUTS = {
    "folded": [
        "tp1/ep1",
        "tp2.dp2/ep4",
        "tp4/etp4",
        "dp4/ep2.etp2.x2",
        "tp2.dp4/ep8.x2",
        "tp2.dp2/ep2.etp2",
        "tp4.dp2/ep2.edp4",
        "dp16/ep16",
        "tp8.dp2/ep16",
    ],
    "per_stage": ["tp2.dp2+ep4", "tp1+ep1", "tp2+ep2.etp2.x2", "dp4+ep3", "tp4.dp2+ep4.edp2"],
    "shared": ["tp2+ep4.shared", "tp2.dp2+ep4.shared", "tp1+ep2.etp2.shared.x2"],
}


def arrays(layouts: list[Layout]) -> Candidates:
    columns = {name: np.array([getattr(layout, name) for layout in layouts]) for name in ARRAYS}
    return Candidates(**columns, home=layouts[0].home)


FIGURES: dict[str, Callable[[Price], Size]] = {
    "tpot": lambda price: price.served.tpot_s,
    "ttft": lambda price: price.served.ttft_s,
    "throughput": lambda price: price.served.throughput_tokens_per_s,
    "communication": lambda price: price.decode.communication_fraction,
    "floor": lambda price: price.decode.floor_s,
    "used": lambda price: price.used_bytes,
    "over": lambda price: price.over_budget_bytes,
    "kv": lambda price: price.kv_sequences,
}


@pytest.mark.parametrize("model", [SMALL_MOE, LATENT, REFERENCE, WINDOWED], ids=lambda model: model.name)
@pytest.mark.parametrize("home", LAYOUTS)
@pytest.mark.parametrize("pp", [1, 2, 3])
@pytest.mark.parametrize("engine", ["vllm", "shardwright"])
def test_arrays_equal_layouts_one_by_one(model: ModelSpec, home: str, pp: int, engine: str) -> None:
    layouts = [parse_layout(text).model_copy(update={"pp": pp}) for text in LAYOUTS[home]]
    site = (model, ENGINES[engine], cluster(nodes=4), WORKLOAD)
    layers = ENGINES[engine].stages(model.num_layers, pp)
    together = price(*site, arrays(layouts), layers)
    for index, layout in enumerate(layouts):
        alone = price(*site, layout, layers)
        for name, figure in FIGURES.items():
            many = np.broadcast_to(np.asarray(figure(together)), len(layouts))[index]
            assert many == pytest.approx(float(figure(alone)), rel=1e-9), (name, layout)


@given(
    model=st.sampled_from([DENSE, SMALL_MOE, LATENT, REFERENCE, WINDOWED]),
    pp=st.integers(1, 4),
    sequences=st.integers(1, 300),
    micro_batches=st.integers(1, 6),
    tp=st.sampled_from([1, 2, 4]),
    dp=st.integers(1, 4),
)
def test_a_pass_is_every_layer_of_every_stage_summed(
    model: ModelSpec, pp: int, sequences: int, micro_batches: int, tp: int, dp: int
) -> None:
    """step_cost counts equal layers and stages together; here each operation of each layer is added alone."""
    layout = Layout(tp=tp, pp=pp, dp=dp, ep=tp * dp) if model.experts else Layout(tp=tp, pp=pp)
    engine, site = ENGINES["shardwright"], cluster()
    layers = engine.stages(model.num_layers, pp)
    load = routed_load(
        "decode",
        model=model,
        degrees=layout,
        sequences=sequences,
        query_tokens=1,
        context=300,
        routing=RoutingProfile(),
    )
    wires = wires_of(engine, site, layout)
    cost = step_cost(model, layout, layers, load, micro_batches, wires, Forms(exchange=engine.exchange))
    stage_seconds, start = [], 0
    for index, count in enumerate(layers):
        shapes = model.layer_shapes[start : start + count]
        start += count
        stage = Stage(runs=tuple((shape, 1) for shape in shapes), first=index == 0, last=index == pp - 1)
        operations = rank_program(
            model, layout, stage, load, "attention+experts", Forms(exchange=engine.exchange)
        )
        stage_seconds.append(float(sum(program_seconds(operations, wires).values())))
    assert float(cost.pass_s) == pytest.approx(sum(stage_seconds), rel=1e-9)
    assert float(cost.slowest_stage_s) == pytest.approx(max(stage_seconds), rel=1e-9)
    assert float(cost.cycle_s) == pytest.approx(
        max(sum(stage_seconds), micro_batches * max(stage_seconds)), rel=1e-9
    )


def circulate(stage_seconds: list[float], micro_batches: int, rounds: int = 200) -> float:
    """Simulate m micro-batches that circle through the stages, first come first served; seconds a round."""
    free = [0.0] * len(stage_seconds)
    queue = [(0.0, index, 0) for index in range(micro_batches)]
    finished: list[float] = []
    while len(finished) < rounds * micro_batches:
        ready, index, stage = heapq.heappop(queue)
        end = max(ready, free[stage]) + stage_seconds[stage]
        free[stage] = end
        following = (stage + 1) % len(stage_seconds)
        if following == 0:
            finished.append(end)
        heapq.heappush(queue, (end, index, following))
    half = len(finished) // 2
    return (finished[-1] - finished[half - 1]) / (len(finished) - half) * micro_batches


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.integers(1, 9))
def test_decode_cycle_of_micro_batches_in_flight(stage_seconds: list[float], micro_batches: int) -> None:
    closed = max(sum(stage_seconds), micro_batches * max(stage_seconds))
    assert circulate(stage_seconds, micro_batches) == pytest.approx(closed, rel=0.02)


def test_two_stages_with_one_micro_batch_idle_half() -> None:
    layout, engine, site = parse_layout("tp2.dp2.pp2/ep4"), ENGINES["vllm"], cluster()
    one, two = (
        price(REFERENCE, engine, site, WORKLOAD, layout, (8, 8), micro_batches=m).decode for m in (1, 2)
    )
    busy = float(one.slowest_stage_s / one.cycle_s)
    assert busy == pytest.approx(0.5, abs=0.02)
    assert float(two.cycle_s) == pytest.approx(2 * float(two.slowest_stage_s))


def test_stages_carry_the_odd_layers() -> None:
    first, *_, last = stages(LATENT, (2, 2, 1))
    dense, moe = LayerShape("dense"), LayerShape("moe")
    assert first.runs == ((dense, 1), (moe, 1)) and first.first and not first.last
    assert last.runs == ((moe, 1),) and last.last


def test_stages_of_equal_layers_are_equal_in_whatever_order() -> None:
    """Windowed and full layers alternate, so that a stage starts with one or with the other."""
    windowed, full = LayerShape("moe", window=128), LayerShape("moe")
    _, *middle, _ = stages(WINDOWED, (1, 2, 2, 1))
    assert [stage.runs for stage in middle] == [((windowed, 1), (full, 1))] * 2
    first, last = stages(WINDOWED, (3, 3))
    assert first.runs == ((windowed, 2), (full, 1)) and last.runs == ((windowed, 1), (full, 2))


def test_more_gpus_of_expert_parallelism_never_slow_the_experts() -> None:
    """Sanity of scale: the expert share of a step falls with EP under uniform routing."""
    seconds = [
        float(
            price(REFERENCE, ENGINES["vllm"], cluster(), WORKLOAD, parse_layout(text), (16,)).decode.families[
                "experts"
            ]
        )
        for text in ("tp1/ep1", "tp2/ep2", "tp4/ep4", "tp8/ep8")
    ]
    assert seconds == sorted(seconds, reverse=True)


def test_loads_count_the_tokens_of_all_dp_ranks() -> None:
    """32 tokens on each of 4 dp ranks, top-2 of 64 over 4 ranks: 64 rows a rank on average."""
    load: Load = routed_load(
        "decode",
        model=REFERENCE,
        degrees=parse_layout("dp4/ep4"),
        sequences=32,
        query_tokens=1,
        context=100,
        routing=RoutingProfile(),
    )
    assert 64 < float(load.expert_rows) < 1.3 * 64
    assert float(load.active_experts) == pytest.approx(16 * (1 - (1 - 2 / 64) ** 128), rel=0.02)


def test_mla_decode_is_not_below_its_floor() -> None:
    """DeepSeek-V3 on H200, 256 sequences of 32k: 2 FLOP x heads x (576 + 512) x tokens at the dense peak."""
    model, site = find_model("DeepSeek-V3"), cluster("H200", nodes=4)
    work = Workload(batch=256, input_tokens=32768, output_tokens=2, max_model_len=40000)
    cost = price(model, ENGINES["vllm"], site, work, parse_layout("tp1/ep1"), (61,))
    floor_s = 256 * 128 * 2 * (576 + 512) * 32768 * 61 / site.device.peak_flops["bf16"]
    assert float(cost.decode.families["attention"]) > floor_s


def test_rows_to_dedicated_experts_on_another_node_all_cross() -> None:
    """dp8+ep8: attention on node 0, experts on node 1. 8,192 tokens x top-2, there and back, by NIC."""
    site = cluster(nodes=2)
    work = Workload(batch=8, input_tokens=8192, output_tokens=8, max_model_len=10000)
    cost = price(REFERENCE, ENGINES["shardwright"], site, work, parse_layout("dp8+ep8"), (16,))
    tokens = ENGINES["shardwright"].memory.limits_on(site.device).max_batched_tokens
    chunk = 8192 / -(-8192 // tokens)
    floor_s = chunk * 2 * REFERENCE.hidden * 2 * 2 * 16 / site.scale_out.bandwidth_bytes_per_s
    assert float(cost.prefills.families["exchange"]) > floor_s
