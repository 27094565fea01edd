"""What an engine cannot run is refused, and the layout that is named instead starts."""

import pytest

from shardwright.dag.schedule import Schedule
from shardwright.engine.engine import Breach
from shardwright.errors import InputError
from shardwright.launch.engines import engine_named
from shardwright.launch.make import launch_of
from shardwright.layout.notation import parse_layout
from tests.launch.plans import cluster_of, plan_of


@pytest.mark.parametrize(
    ("engine", "model", "layout", "nodes", "why"),
    [
        ("vllm", "Qwen3-30B-A3B", "tp2.dp4/ep4.etp2", 1, "EP is TP x DP"),
        ("vllm", "Qwen3-30B-A3B", "dp4+ep4", 1, "attention GPUs"),
        ("sglang", "Qwen3-30B-A3B", "dp4+ep4", 1, "attention GPUs"),
        ("trtllm", "Qwen3-30B-A3B", "tp2.dp4/ep8", 1, "TP or DP is 1"),
        ("vllm", "Qwen3-30B-A3B", "tp3/ep3", 1, "query heads"),
        ("vllm", "DeepSeek-V3", "dp9/ep9", 2, "9 GPUs over 2 nodes of 8 does not divide"),
        ("vllm", "Qwen3-30B-A3B", "tp2.dp3.pp2/ep6", 2, "no whole number of DP ranks"),
        ("sglang", "Llama-3.3-70B-Instruct", "tp4.pp3", 2, "neither number divides"),
        ("vllm", "Qwen3-30B-A3B", "dp8/ep8.x3", 2, "no more GPUs"),
        ("afd", "DeepSeek-V3", "tp4.dp4/ep16", 2, "GPUs of their own"),
        ("afd", "DeepSeek-V3", "dp4+ep8", 2, "a multiple"),
        ("afd", "Qwen3-30B-A3B", "dp4+ep4", 2, "family"),
        ("torchrun", "Qwen3-8B", "tp6", 1, "query heads"),
    ],
)
def test_the_nearest_layout_is_named_and_starts(
    engine: str, model: str, layout: str, nodes: int, why: str
) -> None:
    cluster, runs_on = cluster_of("H200", nodes), engine_named(engine)
    with pytest.raises(InputError) as refused:
        launch_of(plan_of(model, layout, cluster), runs_on)
    said = str(refused.value)
    assert layout in said and why in said and runs_on.version in said
    if model == "Qwen3-30B-A3B" and engine == "afd":
        assert "nearest" not in said
        return
    nearest = said.rpartition("the nearest is ")[2]
    launch = launch_of(plan_of(model, nearest, cluster), runs_on)
    assert nearest != layout and launch.num_gpus == parse_layout(nearest).num_gpus
    assert parse_layout(nearest).copies == parse_layout(layout).copies
    assert 1 / 2 <= launch.num_gpus / parse_layout(layout).num_gpus <= 2


OVERLAPPED = Schedule(order="overlapped", micro_batches=2)


@pytest.mark.parametrize(
    ("engine", "layout", "schedule", "says"),
    [
        ("trtllm", "dp8/ep8", OVERLAPPED, "overlap"),
        ("vllm", "tp8/ep8", OVERLAPPED, "has none for this layout"),
        ("vllm", "dp4.pp2/ep4", OVERLAPPED, "has none for this layout"),
        ("vllm", "dp8/ep8", OVERLAPPED.model_copy(update={"micro_batches": 3}), "micro_batches"),
        ("sglang", "dp8/ep8", Schedule(near_ranks=2), "hierarchical"),
        ("vllm", "dp8/ep8", Schedule(batched=True), "batched"),
        ("vllm", "dp8/ep8", Schedule(exchange="all_to_all"), "exchange"),
        ("trtllm", "dp8/ep8", Schedule(exchange="deepep"), "exchange"),
    ],
)
def test_a_schedule_that_it_has_not_is_refused(
    engine: str, layout: str, schedule: Schedule, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        launch_of(plan_of("Qwen3-30B-A3B", layout, schedule=schedule), engine_named(engine))


def test_afd_has_two_micro_batches_or_one() -> None:
    two = plan_of("DeepSeek-V3", "dp4+ep4", schedule=OVERLAPPED)
    assert all("--enable-dbo" in process.argv for process in launch_of(two, engine_named("afd")).processes)
    three = plan_of("DeepSeek-V3", "dp4+ep4", schedule=OVERLAPPED.model_copy(update={"micro_batches": 3}))
    with pytest.raises(InputError, match="micro_batches"):
        launch_of(three, engine_named("afd"))


def test_afd_roles_on_two_nodes_meet_at_the_experts() -> None:
    launch = launch_of(plan_of("DeepSeek-V3", "dp8+ep8", cluster_of("H200", 2)), engine_named("afd"))
    assert [(process.node, process.gpus) for process in launch.processes] == [
        (0, tuple(range(8))),
        (1, tuple(range(8))),
    ]
    assert all('"host": "HEAD_NODE_ADDRESS"' in " ".join(process.argv) for process in launch.processes)
    assert "first" not in launch.notes[0]


@pytest.mark.parametrize("name", ["megatron", "gshard", "vllm@0.1", "", "tgi"])
def test_an_engine_that_starts_nothing_is_no_choice(name: str) -> None:
    with pytest.raises(InputError, match=r"--engine.*torchrun"):
        engine_named(name)


@pytest.mark.parametrize("engine", ["sglang", "trtllm", "torchrun", "afd"])
def test_ray_is_vllms(engine: str) -> None:
    model, layout = ("DeepSeek-V3", "dp4+ep4") if engine == "afd" else ("Qwen3-30B-A3B", "dp8/ep8")
    with pytest.raises(InputError, match="--executor"):
        launch_of(plan_of(model, layout), engine_named(engine), executor="ray")


def test_ray_starts_all_ranks_by_one_command() -> None:
    cluster = cluster_of("H200", 2)
    launch = launch_of(plan_of("DeepSeek-V3", "dp16/ep16", cluster), engine_named("vllm"), executor="ray")
    (process,) = launch.processes
    assert process.ranks == tuple(range(16)) and process.gpus == () and process.environment == {}
    assert "--nnodes" not in process.argv and "--master-addr" not in process.argv
    assert process.argv[process.argv.index("--data-parallel-size-local") + 1] == "8"
    whole = launch_of(plan_of("DeepSeek-V3", "tp16/ep16", cluster), engine_named("vllm"), executor="ray")
    assert "--data-parallel-backend" not in whole.processes[0].argv


def test_an_obstacle_of_the_plan_is_said() -> None:
    sentence = "Weights and one sequence fit in the memory of a GPU"
    obstacle = Breach(rule="memory", sentence=sentence, excess=1, unit="GB", cure="", source="")
    plan = plan_of("Qwen3-30B-A3B", "dp8/ep8").model_copy(update={"obstacles": (obstacle,)})
    assert sentence in launch_of(plan, engine_named("vllm")).notes[0]


def test_ports_run_out() -> None:
    with pytest.raises(InputError, match="--port"):
        launch_of(plan_of("Qwen3-30B-A3B", "dp2/ep2.x4"), engine_named("vllm"), port=65534)
