"""The public API in a hundred lines: from a deployment to a plan, an audit, an explanation."""

from pathlib import Path

from shardwright.audit.audit import audit
from shardwright.cluster.catalog import build_cluster, find_device
from shardwright.cost.price import price
from shardwright.engine.catalog import ENGINES
from shardwright.engine.engine import breaches
from shardwright.layout.grid import build_grid, groups
from shardwright.layout.notation import format_layout, parse_layout
from shardwright.layout.placement import linear_placement
from shardwright.layout.readings import readings
from shardwright.layout.shards import rank_shards
from shardwright.layout.stated import parse_stated
from shardwright.model.catalog import find_model
from shardwright.model.kv import kv_bytes_per_token
from shardwright.model.weights import num_parameters, weights
from shardwright.plan.deployment import read_deployment, resolve
from shardwright.plan.file import read_plan, write_plan
from shardwright.report.markdown import plan_markdown
from shardwright.search.explain import explain
from shardwright.search.search import search
from shardwright.steps.forms import Forms
from shardwright.steps.load import routed_load
from shardwright.steps.program import Stage, rank_program
from shardwright.workload.routing import RoutingProfile, activated_experts
from shardwright.workload.workload import Workload

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_what_is_deployed_where_and_how_much() -> None:
    model = find_model("Qwen/Qwen3-30B-A3B")
    assert num_parameters(model) == 30_532_122_624
    assert kv_bytes_per_token(model) == 48 * 2 * 4 * 128 * 2
    assert find_device("H100").peak_flops["bf16"] == 989.4e12
    assert activated_experts(RoutingProfile(), 128, 8, 1) == 8


def test_one_split_and_its_ranks() -> None:
    layout = parse_layout("tp2.dp2.pp2/ep4")
    assert layout.num_gpus == 8 and format_layout(layout) == "tp2.dp2.pp2/ep4"
    vllm = ENGINES["vllm"]
    grid = build_grid(layout, rank_order=vllm.rank_order)
    assert groups(grid, "ep").tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    counts = {reading.gpus for reading in readings(parse_stated("TP2-EP4-PP2-DP2"), has_experts=True)}
    assert counts == {8, 12, 16, 32}
    assert linear_placement(64, 4).slots_of(3) == tuple(range(48, 64))


def test_what_a_rank_holds_and_does() -> None:
    model, layout = find_model("Qwen3-30B-A3B"), parse_layout("tp4/ep4")
    held = rank_shards(weights(model), build_grid(layout), (48,), rank=0)
    assert sum(shard.num_bytes for shard in held) < 16.0e9
    load = routed_load(
        "decode",
        model=model,
        degrees=layout,
        sequences=32,
        query_tokens=1,
        context=1024,
        routing=RoutingProfile(),
    )
    stage = Stage(runs=((model.layer_shapes[0], 48),), first=True, last=True)
    operations = list(rank_program(model, layout, stage, load, "attention+experts", Forms()))
    assert [op.name for op in operations if op.family == "exchange"] == ["dispatch", "combine"]


def test_what_it_costs() -> None:
    model, engine = find_model("Qwen3-30B-A3B"), ENGINES["vllm"]
    cluster, assumed = build_cluster(gpu="H100", nodes=1, gpus_per_node=8)
    work = Workload(batch=64, input_tokens=1024, output_tokens=256, max_model_len=2048)
    layout = parse_layout("tp8/ep8")
    assert not assumed and not breaches(engine, layout, model, cluster)
    cost = price(model, engine, cluster, work, layout, engine.stages(model.num_layers, layout.pp))
    assert 0.001 < float(cost.served.step_s) <= float(cost.served.tpot_s) < 0.05


def test_the_plan_and_why(tmp_path: Path) -> None:
    deployment = resolve(
        {
            "model": "Qwen3-30B-A3B",
            "cluster": {"gpu": "H100", "nodes": 1, "gpus_per_node": 8},
            "targets": {"tpot_ms": 50},
        }
    )
    plan = search(deployment)
    assert plan.met and read_plan(write_plan(plan, tmp_path)) == plan
    assert plan.pools[0].layout in plan_markdown(plan)
    worse = explain(deployment, parse_layout("tp2.dp2.pp2/ep4"))
    assert worse.sound and not worse.is_best


def test_the_audit() -> None:
    found = audit(read_deployment(EXAMPLES / "reference.yaml"))
    assert found.verdict.level == "not ready"
