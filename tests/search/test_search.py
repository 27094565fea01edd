"""The search against a brute force that shares neither its enumeration nor its arrays."""

from collections.abc import Iterator
from itertools import product

import pytest

from shardwright.engine.catalog import ENGINES
from shardwright.engine.engine import breaches
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout, parse_layout
from shardwright.model.spec import ModelSpec
from shardwright.plan.deployment import Deployment, resolve
from shardwright.search.choose import miss_ratios, pareto
from shardwright.search.search import NoLayoutError, plan_for, ranked, search
from shardwright.search.timing import price_layout, time_layout
from tests.samples import DENSE, LATENT, REFERENCE, SMALL_MOE


def deployment(model: ModelSpec | str, gpus: int, **fields: object) -> Deployment:
    base = {
        "model": model if isinstance(model, str) else model.model_dump(),
        "cluster": {"gpu": "H100", "nodes": max(1, gpus // 4), "gpus_per_node": min(gpus, 4)},
        "workload": {"batch": 24, "input_tokens": 256, "output_tokens": 64, "max_model_len": 512},
        "engine": "any",
    }
    return resolve({**base, **fields})


def brute_force(given: Deployment) -> Iterator[Layout]:
    """Every combination of degrees up to the GPUs, one at a time, judged rule by rule."""
    engine = ENGINES["shardwright" if given.engine == "any" else given.engine]
    limit, sequences = given.usable_gpus, given.workload.batch
    degrees = range(1, limit + 1)
    homes = engine.homes if given.model.experts else ("folded",)
    for home, tp, dp, pp in product(homes, degrees, degrees, degrees):
        if tp * dp * pp > limit or pp > given.model.num_layers:
            continue
        for ep, etp, edp in product(degrees, repeat=3):
            if ep * etp * edp > limit:
                continue
            try:
                one = Layout(tp=tp, dp=dp, pp=pp, ep=ep, etp=etp, edp=edp, home=home)
            except ValueError:
                continue
            if one.num_gpus > limit or breaches(engine, one, given.model, given.cluster):
                continue
            if home == "folded" and edp > 1 and (ep * etp) % tp == 0:
                continue  # sets of experts that share no rank group: the same as copies
            copies = 1
            while copies * one.num_gpus <= limit and dp * copies <= sequences:
                if places(copies, one.num_gpus, given.cluster.nodes, given.cluster.gpus_per_node):
                    yield one.model_copy(update={"copies": copies})
                copies += 1


def places(copies: int, size: int, nodes: int, gpus_per_node: int) -> bool:
    """Put copy after copy: into the first node with room for it whole, else over empty nodes in a row."""
    free = [gpus_per_node] * nodes
    for _ in range(copies):
        if size <= gpus_per_node:
            node = next((n for n, left in enumerate(free) if left >= size), None)
            if node is None:
                return False
            free[node] -= size
            continue
        empty = [n for n, left in enumerate(free) if left == gpus_per_node]
        needed = -(-size // gpus_per_node)
        if len(empty) < needed:
            return False
        for n in empty[:needed]:
            free[n] = 0
    return True


CASES = [
    pytest.param(SMALL_MOE, 4, "any", id="small-4-any"),
    pytest.param(SMALL_MOE, 8, "any", id="small-8-any", marks=pytest.mark.slow),
    pytest.param(SMALL_MOE, 16, "vllm", id="small-16-vllm"),
    pytest.param(LATENT, 4, "any", id="latent-4-any"),
    pytest.param(LATENT, 8, "any", id="latent-8-any", marks=pytest.mark.slow),
    pytest.param(LATENT, 12, "sglang", id="latent-12-sglang"),
    pytest.param(DENSE, 16, "any", id="dense-16-any"),
    pytest.param(REFERENCE, 16, "vllm", id="reference-16-vllm"),
]


@pytest.mark.parametrize(("model", "gpus", "engine"), CASES)
def test_enumeration_and_winner_equal_brute_force(model: ModelSpec, gpus: int, engine: str) -> None:
    """Every layout in every schedule that its engine offers, one by one."""
    given = deployment(model, gpus, engine=engine, targets={"tpot_ms": 30})
    table, ranking = ranked(given)
    found = [table.layout(row) for row in range(len(table))]
    expected = list(brute_force(given))
    assert len(found) == len(set(found)), "no layout twice"
    assert set(found) == set(expected)

    def score(layout: Layout) -> tuple[bool, float]:
        timing = time_layout(given, layout)
        cost, client = timing.price, timing.served
        fits = float(cost.over_budget_bytes) <= 0 and float(cost.kv_sequences) >= 1
        return fits and float(client.tpot_s) <= 0.030, float(client.throughput_tokens_per_s)

    best = max(expected, key=score)
    first = table.layout(int(ranking.order[0]))
    assert score(first)[0] and score(first) == pytest.approx(score(best), rel=1e-9)


def test_enumeration_equals_brute_force_on_16_gpus_of_any_engine() -> None:
    given = deployment(SMALL_MOE, 16)
    table, _ = ranked(given)
    assert {table.layout(row) for row in range(len(table))} == set(brute_force(given))


@pytest.mark.parametrize("objective", ["throughput_per_gpu", "latency", "fewest_gpus"])
def test_the_winner_is_the_best_by_the_objective(objective: str) -> None:
    given = deployment(SMALL_MOE, 8, objective=objective, targets={"tpot_ms": 20})
    table, ranking = ranked(given)
    figure = {
        "throughput_per_gpu": -table.columns["throughput_tokens_per_s"],
        "latency": table.columns["tpot_s"],
        "fewest_gpus": table.num_gpus,
    }[objective]
    sound = [row for row in ranking.order if ranking.misses[row] <= 1]
    assert figure[sound[0]] == min(figure[row] for row in sound)


def test_a_missed_target_is_never_met() -> None:
    """With a target no layout can reach the plan says so, and comes as near as can be."""
    given = deployment(REFERENCE, 8, targets={"tpot_ms": 0.01, "throughput_tokens_per_s": 1})
    plan = search(given)
    assert not plan.met and {check.name: check.met for check in plan.targets} == {
        "tpot_ms": False,
        "throughput_tokens_per_s": True,
    }
    assert "nearest" in plan.reason
    _, ranking = ranked(given)
    assert not any(row.meets_targets for row in plan.alternatives)
    assert ranking.misses[ranking.order[0]] == min(ranking.misses[ranking.order])


def test_miss_ratios_name_every_stated_target() -> None:
    given = deployment(SMALL_MOE, 4)
    table, _ = ranked(given)
    targets = given.targets.model_copy(
        update={"tpot_ms": 1.0, "ttft_ms": 1.0, "throughput_tokens_per_s": 1e9, "communication_fraction": 0.0}
    )
    ratios = miss_ratios(targets, table.columns)
    assert set(ratios) == {"tpot_ms", "ttft_ms", "throughput_tokens_per_s", "communication_fraction"}
    single = next(row for row in range(len(table)) if table.num_gpus[row] == 1)
    assert ratios["communication_fraction"][single] == 0, "one GPU does not communicate: a share of 0 is met"


def test_nothing_fits_names_the_nearest_miss() -> None:
    given = deployment("DeepSeek-V3", 4)
    with pytest.raises(NoLayoutError, match=r"(?s)no layout of up to 4 GPUs fits.*memory") as caught:
        search(given)
    assert "Traceback" not in str(caught.value) and caught.value.exit_code == 1


def test_pareto_front_is_what_nothing_beats() -> None:
    given = deployment(REFERENCE, 16, engine="vllm")
    table, ranking = ranked(given)
    per_gpu = table.columns["throughput_tokens_per_s"] / table.num_gpus
    front = pareto(table, ranking)
    for row in ranking.order:
        beaten = any(
            table.columns["tpot_s"][f] <= table.columns["tpot_s"][row]
            and per_gpu[f] >= per_gpu[row] * (1 - 1e-9)
            for f in front
        )
        assert beaten, table.layout(int(row))


def test_near_equal_layouts_go_to_what_most_engines_run() -> None:
    plan = search(deployment("Qwen3-30B-A3B", 8, engine="vllm"))
    layout = parse_layout(plan.pools[0].layout)
    assert layout.home == "folded"
    assert plan.pools[0].command[:3] == ("vllm", "serve", "Qwen/Qwen3-30B-A3B")


def test_stated_layers_of_stages_are_used() -> None:
    given = deployment(REFERENCE, 8)
    pool = search(given).pools[0]
    assert sum(pool.stage_layers) == 16
    uneven = parse_layout("tp4.pp2:9:7/ep4")
    assert (
        price_layout(given, uneven).decode.slowest_stage_s
        > price_layout(given, parse_layout("tp4.pp2/ep4")).decode.slowest_stage_s
    )
    assert format_layout(uneven) == "tp4.pp2:9:7/ep4"


def test_reserved_gpus_stay_free() -> None:
    plan = search(deployment(REFERENCE, 16, reserve={"gpus": 8}))
    assert plan.pools[0].num_gpus <= 8


def test_rejected_layouts_carry_rule_slack_and_cure() -> None:
    plan = search(deployment(REFERENCE, 8, engine="vllm"))
    rows = {row.rule: row for row in plan.rejected}
    assert rows["ep-derived"].count > 0 and rows["ep-derived"].cure
    assert all(row.excess > 0 or row.rule == "memory" for row in plan.rejected)


@pytest.mark.parametrize(
    ("gpu", "vendor", "name"), [("MI300X-192GB", "AMD", "trtllm"), ("Ascend-910B3-64GB", "Huawei", "vllm")]
)
def test_gpus_that_the_engine_does_not_run_on_are_one_complaint(gpu: str, vendor: str, name: str) -> None:
    cluster = {"gpu": gpu, "nodes": 1, "gpus_per_node": 4}
    said = rf"engine: '{name}' is not allowed; expected an engine for GPUs of {vendor}\. .*engine: any"
    with pytest.raises(InputError, match=said):
        search(deployment(SMALL_MOE, 4, cluster=cluster, engine=name))
    assert search(deployment(SMALL_MOE, 4, cluster=cluster)).num_priced > 0


@pytest.mark.parametrize(
    ("layout", "begins"),
    [
        ("tp2.dp2/ep4", ("vllm", "serve")),
        ("tp4/ep2.etp2", ("python", "-m", "sglang.launch_server")),
        ("dp4/ep2.edp2", ()),
        ("dp2+ep2", ()),
    ],
)
def test_any_engine_has_the_command_of_the_first_server_that_runs_the_layout(
    layout: str, begins: tuple[str, ...]
) -> None:
    command = plan_for(deployment(SMALL_MOE, 4), parse_layout(layout), reason="test").pools[0].command
    assert command[: len(begins)] == begins and bool(command) == bool(begins)
