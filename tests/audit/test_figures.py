"""Floors, balance, risks and recommendations against arithmetic of their own."""

import pytest

from shardwright.audit.audit import audit
from shardwright.audit.digits import agrees, range_of, shown
from shardwright.audit.floor import weight_floor
from shardwright.cost.profile import read_profile
from shardwright.dag.schedule import Schedule
from shardwright.layout.notation import parse_layout
from shardwright.search.engine import host_for
from shardwright.search.timing import offered, plain_timing, play, price_layout
from shardwright.steps.operation import COMMUNICATION
from shardwright.workload.routing import RoutingProfile
from tests.audit.documents import audited, example, with_claims

REFERENCE = example("reference")
LAYOUTS = [
    "tp2.dp2.pp2/ep4",
    "tp2.dp4/ep8",
    "dp8/ep8",
    "tp8.pp2/etp8",
    "tp2/ep2.x4",
    "tp4.pp4/ep4",
    "tp2.dp8/ep16",
]


@pytest.mark.parametrize(
    ("stated", "truth", "share", "right"),
    [
        (1.43, 50 / 35, False, True),
        (1.4, 50 / 35, False, True),
        (1.42, 50 / 35, False, False),
        (0.3, 0.3049, True, True),
        (0.3, 0.306, True, False),
        (0.49, 0.484375, True, False),
        (0.48, 0.484375, True, True),
        (0.516, 0.515625, True, True),
        (60.0, 59.86, False, True),
        (60.0, 59.4, False, False),
    ],
)
def test_held_to_the_digits_given(stated: float, truth: float, share: bool, right: bool) -> None:
    assert agrees(stated, truth, share=share) is right


def test_figures_as_written() -> None:
    assert range_of(1200.0) == (1150, 1250)
    assert range_of(5.25) == pytest.approx((5.245, 5.255))
    assert [shown(value) for value in (0.005, 28000.0, 6.6667, 512.3)] == ["0.005", "28,000", "6.67", "512"]


@pytest.mark.parametrize("text", [*LAYOUTS, "tp2.pp2+ep4.shared", "tp2.dp2.pp2+ep4"])
@pytest.mark.parametrize("batch", [16, 128, 1024])
def test_no_prediction_is_below_the_floor(text: str, batch: int) -> None:
    workload = REFERENCE.workload.model_copy(update={"batch": batch})
    deployment = REFERENCE.model_copy(update={"workload": workload, "engine": "shardwright"})
    layout = parse_layout(text)
    floor = weight_floor(deployment, layout)
    cost = price_layout(deployment, layout)
    assert 0.15 * float(cost.served.step_s) < floor.step_s < float(cost.served.step_s)
    assert float(cost.served.throughput_tokens_per_s) < floor.ceiling_tokens_per_s
    assert floor.step_s <= weight_floor(deployment, layout, all_experts=True).step_s


def test_every_micro_batch_reads_the_weights_again() -> None:
    layout = parse_layout("tp2.dp2.pp2/ep4")
    one, two, eight = (
        weight_floor(REFERENCE, layout, micro_batches=count, all_experts=True) for count in (1, 2, 8)
    )
    assert two.step_s == pytest.approx(one.step_s, rel=0.02), "with one, each stage waits for the other"
    assert eight.step_s == pytest.approx(4 * two.step_s)


@pytest.mark.parametrize("text", LAYOUTS)
def test_the_largest_batch_is_the_largest_that_fits(text: str) -> None:
    found = audit(REFERENCE, layout=text)
    layout = parse_layout(text)
    largest = next(row for row in found.risks if row.id == "growth").numbers["largest_batch"]

    def over(batch: int) -> float:
        workload = REFERENCE.workload.model_copy(update={"batch": batch})
        return float(
            price_layout(REFERENCE.model_copy(update={"workload": workload}), layout).over_budget_bytes
        )

    assert over(int(largest)) <= 0 < over(int(largest) + layout.dp * layout.copies)


@pytest.mark.parametrize("text", LAYOUTS)
def test_overlap_gains_what_the_timeline_says(text: str) -> None:
    """Played here with the engine's own settings; halved micro-batches may take back all of it."""
    found, layout = audit(REFERENCE, layout=text), parse_layout(text)
    assert found.pool is not None
    gain = next(row for row in found.recommendations if row.id == "overlap")
    given = REFERENCE.model_copy(update={"engine": "any"}) if layout.home != "folded" else REFERENCE
    tries = [schedule for schedule in offered(given, layout) if schedule.order == "overlapped"]
    steps = [
        play(given, layout, schedule).step_s
        for schedule in tries or [Schedule(order="overlapped", micro_batches=2 * layout.pp)]
    ]
    step_s = found.pool.figures.step_s.value
    assert gain.gain_s == pytest.approx(max(0.0, step_s - min(steps)), rel=1e-9)
    talk_s = sum(s for name, s in found.pool.seconds_by_family.items() if name in COMMUNICATION)
    assert gain.gain_s <= step_s * talk_s / sum(found.pool.seconds_by_family.values())


def test_recommendations_come_by_gain_and_say_where_there_is_none() -> None:
    rows = audited("reference").recommendations
    assert [row.gain_s for row in rows] == sorted((row.gain_s for row in rows), reverse=True)
    assert {row.id for row in rows} == {
        "overlap",
        "batched_exchange",
        "hierarchical",
        "micro_batches",
        "kv_split",
        "expert_balance",
    }
    by_id = {row.id: row for row in rows}
    assert by_id["hierarchical"].gain_s == 0
    assert "No gain" in by_id["hierarchical"].sentence


def test_one_message_saves_the_latency_of_two_more() -> None:
    found = {row.id: row for row in audited("reference").recommendations}["batched_exchange"]
    laws = read_profile("A100-SXM-80GB").collectives
    law = next(law for law in laws if law.collective == "all_gather")
    dispatch_s = 16 * (law.a + 4 * law.b) * 1e-6  # one gather of 4 ranks in each of 16 layers
    step = plain_timing(REFERENCE, parse_layout("tp2.dp2.pp2/ep4")).price.decode
    cycles = step.cycle_s / step.pass_s  # two micro-batches over two stages, the last with the head
    assert found.gain_s == pytest.approx(2 * dispatch_s * cycles * host_for(REFERENCE).decode)
    two = audit(with_claims(REFERENCE, micro_batches=2)).recommendations
    assert "at different ones" in {row.id: row for row in two}["batched_exchange"].sentence
    one_stage = REFERENCE.model_copy(update={"layout": "tp2.dp4/ep8"})
    merged = audit(with_claims(one_stage, micro_batches=2)).recommendations
    said = {row.id: row for row in merged}["batched_exchange"]
    assert "2 micro-batches, batched exchanges" in said.sentence and said.gain_s > found.gain_s


def test_hierarchy_is_a_choice_only_where_groups_leave_their_node() -> None:
    """There NCCL's own ring or tree crosses the network once as well, so that two levels gain nothing."""
    inside = {row.id: row for row in audit(REFERENCE, layout="tp8.dp2/etp16").recommendations}
    across = {row.id: row for row in audit(REFERENCE, layout="tp16/etp16").recommendations}
    assert inside["hierarchical"].gain_s == 0 and "inside a node" in inside["hierarchical"].sentence
    flat, levels = (
        play(REFERENCE, parse_layout("tp16/etp16"), Schedule(near_ranks=near)).step_s for near in (1, 8)
    )
    assert across["hierarchical"].gain_s == pytest.approx(max(0.0, flat - levels))
    assert "touch 2 nodes" in across["hierarchical"].sentence
    network = {row.id: row for row in audit(REFERENCE, layout="tp16/etp16").risks}["network"]
    assert network.level == "low"
    assert network.numbers["tp"] == 2


def test_micro_batches_gain_what_two_prices_differ_by() -> None:
    layout = parse_layout("tp2.dp2.pp2/ep4")
    one, two = (float(plain_timing(REFERENCE, layout, count).served.tpot_s) for count in (1, 2))
    found = next(row for row in audited("reference").recommendations if row.id == "micro_batches")
    assert found.gain_s == pytest.approx(max(0.0, one - two))


def test_kv_split_saves_what_tp_and_pp_divide() -> None:
    found = next(row for row in audited("reference").recommendations if row.id == "kv_split")
    whole = 16 * 8 * 2 * 128 * 2  # layers, KV heads, keys and values of 128, bf16
    assert found.gain_bytes == 64 * 1536 * (whole - whole / 4)
    latent = next(row for row in audited("audits/deepseek-h200").recommendations if row.id == "kv_split")
    assert latent.gain_bytes == 0
    copies = audit(example("audits/deepseek-h200"), layout="tp4.dp4/ep16")
    assert "no gain beyond TP1" in next(r for r in copies.recommendations if r.id == "kv_split").sentence


def test_skewed_routing_makes_balance_worth_more() -> None:
    def gain(routing: RoutingProfile) -> tuple[float, float]:
        workload = REFERENCE.workload.model_copy(update={"routing": routing})
        found = audit(REFERENCE.model_copy(update={"workload": workload}))
        factor = next(row for row in found.balance if row.id == "hottest_rank").ratio
        return factor, next(row for row in found.recommendations if row.id == "expert_balance").gain_s

    even, skewed = gain(RoutingProfile()), gain(RoutingProfile(kind="zipf", exponent=1.0))
    assert 1 < even[0] < skewed[0]
    assert even[1] > 0


def test_spares_replace_what_they_can() -> None:
    level = {
        text: _risk(text, "spare") for text in ("tp2.dp4/ep8", "tp2.dp6/ep12", "dp16/ep16", "tp2/ep2.x8")
    }
    assert {text: row[0] for text, row in level.items()} == {
        "tp2.dp4/ep8": "none",
        "tp2.dp6/ep12": "low",
        "dp16/ep16": "high",
        "tp2/ep2.x8": "low",
    }
    assert "one of 8 copies, 16 of 128 sequences" in level["tp2/ep2.x8"][1]


def test_better_layouts_say_why() -> None:
    same, every = audited("reference").better
    assert same.scope == "same GPUs"
    assert every.scope == "all usable GPUs"
    assert any("of weights a step instead of" in line for line in same.because)
    again = audit(REFERENCE, layout=same.pool.layout, gpus=8)
    assert again.better[0].because == ("It is the layout under audit.",)


def _risk(text: str, id: str) -> tuple[str, str]:
    row = next(row for row in audit(REFERENCE, layout=text).risks if row.id == id)
    return row.level, row.sentence
