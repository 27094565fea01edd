"""The scripts of our runtime, run: on the CPU in the place of GPUs, a node each on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shardwright.launch.engines import engine_named
from shardwright.launch.make import launch_of
from shardwright.launch.write import write_launch
from shardwright.layout.notation import parse_layout
from shardwright.plan.deployment import resolve
from shardwright.plan.plan import Plan
from shardwright.search.search import plan_for

pytestmark = pytest.mark.slow


def planned(model: Path, layout: str, per_node: int) -> Plan:
    deployment = resolve(
        {
            "model": str(model),
            "cluster": {"gpu": "H100-SXM-80GB", "nodes": 2, "gpus_per_node": per_node},
            "workload": {"batch": 8, "input_tokens": 8, "output_tokens": 8, "max_model_len": 64},
            "engine": "any",
        }
    )
    return plan_for(deployment, parse_layout(layout), reason="as asked")


@pytest.mark.parametrize(("layout", "per_node"), [("tp2.dp2/ep4", 2), ("tp2+ep2", 4)])
def test_every_rank_of_the_plan_takes_part(layout: str, per_node: int, tmp_path: Path) -> None:
    """Two nodes that meet at an address; one node that stands alone, with experts on ranks of their own."""
    tiny = pytest.importorskip("shardwright.run.tiny")
    checkpoint = tiny.make_tiny("reference", tmp_path / "model", seed=0)
    plan = planned(checkpoint, layout, per_node)
    launch = launch_of(plan, engine_named("torchrun"))
    write_launch(launch, plan, tmp_path / "launch")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CHECKPOINT_FOLDER": str(checkpoint),
        "HEAD_NODE_ADDRESS": "127.0.0.1",
        "NETWORK_INTERFACE": "lo",
        "OMP_NUM_THREADS": "1",
    }
    nodes = []
    for node in range(launch.num_nodes):
        script = tmp_path / "launch" / f"start-node{node}.sh"
        script.write_text(script.read_text().replace("--device cuda", "--device cpu"))
        nodes.append(
            subprocess.Popen(
                ["bash", str(script)],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    said = [node.communicate(timeout=180)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0] * launch.num_nodes, said
    assert f"Generated: {layout}" in said[0] and f"{launch.num_gpus} ranks, torchrun" in said[0]
