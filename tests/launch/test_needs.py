"""What a launch needs of this machine: GPUs, memory, programs and ports, asked before anything is started."""

import os
from pathlib import Path

import pytest

from shardwright.cluster.catalog import find_device
from shardwright.cluster.machine import Machine
from shardwright.engine.catalog import find_engine
from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.launch import processes
from shardwright.launch.make import launch_of
from shardwright.launch.needs import check_devices, check_memory, check_startable
from tests.launch.tiny_plans import CPU, tiny_plan

H100 = {"gpu": "H100", "nodes": 1, "gpus_per_node": 2}


def machine_with(gpu: str, num_gpus: int) -> Machine:
    return Machine(device=find_device(gpu), num_gpus=num_gpus, found=())


def no_gpu() -> Machine:
    raise EnvironmentLacksError("cluster: auto: this machine has none of nvidia-smi")


def unknown_gpu() -> Machine:
    raise InputError("cluster.gpu", "GeForce", "a GPU that the catalogue knows")


def test_a_plan_for_gpus_is_not_started_without_them(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "tp2/ep2", cluster=H100)
    assert not check_devices(plan, 2, lambda: machine_with("H100", 8))
    assert not check_devices(plan, 2, unknown_gpu)
    for machine, words in (
        (no_gpu, "the plan is for 2 x H100-SXM-80GB, and this machine shows no GPU"),
        (lambda: machine_with("A100-SXM-80GB", 8), "for H100-SXM-80GB, and this machine has A100-SXM-80GB"),
        (lambda: machine_with("H100", 1), "needs 2 GPUs, and this machine has 1"),
    ):
        with pytest.raises(EnvironmentLacksError, match=words) as lacks:
            check_devices(plan, 2, machine)
        assert lacks.value.exit_code == 3


def test_a_device_of_ones_own_is_the_cpu_where_no_gpu_is(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "tp2/ep2")
    assert check_devices(plan, 2, no_gpu)
    assert not check_devices(plan, 2, lambda: machine_with("H100", 8))


def test_memory_is_counted_before_the_start() -> None:
    check_memory(2e9, 3 * 10**9)
    check_memory(2e9, None)
    with pytest.raises(EnvironmentLacksError, match=r"the ranks need 4\.00 GB by the plan, and 3\.00 GB are"):
        check_memory(4e9, 3 * 10**9)
    found = processes.available_bytes()
    assert found is not None
    assert 0 < found < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("engine", "layout", "cluster", "words"),
    [
        (
            "vllm",
            "tp4/ep4",
            {**CPU, "nodes": 2},
            r"a launch on one node, not 2: run start-node\*\.sh of -o DIR",
        ),
        ("shardwright", "tp2/ep2", CPU, "an engine that serves"),
        ("trtllm", "tp2/ep2", CPU, "an engine that needs no .* beside it"),
    ],
)
def test_what_one_machine_cannot_start_is_refused(
    tmp_path: Path, engine: str, layout: str, cluster: dict[str, object], words: str
) -> None:
    plan = tiny_plan(tmp_path, layout, cluster=cluster, engine="any")
    with pytest.raises(InputError, match=words):
        check_startable(launch_of(plan, find_engine(engine)))


@pytest.mark.parametrize("engine", ["vllm", "vllm@0.32", "sglang"])
def test_servers_of_one_node_can_be_started(tmp_path: Path, engine: str) -> None:
    check_startable(launch_of(tiny_plan(tmp_path, "tp2/ep2", engine=engine), find_engine(engine)))
