"""The section `cluster` of a deployment: named, with hosts, or this machine; and the tools really run."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from shardwright.cluster import tool
from shardwright.cluster.hosts import Host, parse_hosts
from shardwright.cluster.machine import Machine, read_machine
from shardwright.cluster.stated import stated_cluster
from shardwright.errors import EnvironmentLacksError, InputError
from tests.cli.run import shardwright
from tests.cluster.recordings import RECORDED, machine_with, recorded

HOSTS = "# a rack\nnode-1 slots=8  # first\n\nnode-2 slots=8 max_slots=8\n"


def h100x8() -> Machine:
    return read_machine(machine_with(gpus=recorded("h100x8.gpus.csv"), topo=recorded("h100x8.topo.txt")))


@pytest.mark.parametrize(
    ("given", "nodes", "per_node"),
    [
        ("auto", 1, 8),
        ({"gpu": "auto"}, 1, 8),
        ({"gpu": "auto", "gpus_per_node": 4}, 1, 4),
        ({"gpu": "auto", "nodes": 4}, 4, 8),
        ({"gpu": "auto", "hosts": ["a", "b"]}, 2, 8),
        ({"gpu": "auto", "hosts": "hosts.txt"}, 2, 8),
        ({"gpu": "H200", "hosts": ["a slots=4", "b slots=4", "c:4"]}, 3, 4),
        ({"gpu": "H200", "hosts": "hosts.txt", "nodes": 2, "gpus_per_node": 8}, 2, 8),
        ({"gpu": "GB200", "nodes": 18}, 18, 4),
        ({"gpu": "H100"}, 1, 8),
    ],
)
def test_nodes_and_gpus(given: Any, nodes: int, per_node: int, tmp_path: Path) -> None:
    (tmp_path / "hosts.txt").write_text(HOSTS, encoding="utf-8")
    cluster, _ = stated_cluster(given, tmp_path, h100x8)
    assert (cluster.nodes, cluster.gpus_per_node) == (nodes, per_node)


def test_what_was_found_and_what_was_assumed_is_said() -> None:
    cluster, said = stated_cluster({"gpu": "auto", "hosts": ["a", "b"]}, machine=h100x8)
    assert cluster.device.name == "H100-SXM-80GB"
    assert said == (
        "This machine has 8 x NVIDIA H100 80GB HBM3 (81,559 MiB), by nvidia-smi: read as H100-SXM-80GB.",
        "Its GPUs are joined by NVLink4 (NV18 in nvidia-smi topo -m).",
        "The 2 nodes (a, b) are taken to be equal to this machine: none was asked.",
        "The nodes are joined by InfiniBand-NDR (50 GB/s a GPU and direction): none was stated.",
    )
    _, said = stated_cluster({"gpu": "H100", "hosts": list("abcdef"), "scale_out": "NDR"})
    assert said == ("The 6 nodes (a, b, c, d, ...) are taken to be equal to one another: none was asked.",)


def test_a_link_that_is_stated_wins_over_what_was_found() -> None:
    topo = recorded("h100x8.topo.txt").replace("NV18", "SYS")
    flat = read_machine(machine_with(gpus=recorded("h100x8.gpus.csv"), topo=topo))
    assert stated_cluster("auto", machine=lambda: flat)[0].scale_up.name == "PCIe5-x16"
    given = {"gpu": "auto", "scale_up": "NVLink4"}
    assert stated_cluster(given, machine=lambda: flat)[0].scale_up.name == "NVLink4"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, r"cluster: None .*auto \(this machine\), or gpu"),
        ("mine", "cluster: 'mine' .*auto"),
        ([], "cluster: .*auto"),
        ({}, "gpu: None .*needed"),
        ({"gpu": "auto", "speed": 1}, "speed: 1 .*one of the fields gpu, nodes, hosts"),
        (
            {"gpu": "auto", "gpus_per_node": 16},
            "cluster.gpus_per_node: 16 .*at most the 8 GPUs of this machine",
        ),
        ({"gpu": "H100", "hosts": ["a", "b"], "nodes": 3}, "cluster.nodes: 3 .*2, as hosts has"),
        ({"gpu": "H100", "hosts": ["a:4"], "gpus_per_node": 8}, "cluster.gpus_per_node: 8 .*4, as slots"),
        ({"gpu": "H100", "hosts": ["a:4", "b:8"]}, "cluster.hosts: 'slots 4, 8' .*the same number"),
        ({"gpu": "H100", "hosts": ["a", "a"]}, "cluster.hosts: 'a' .*each host once"),
        ({"gpu": "H100", "hosts": []}, "cluster.hosts: 'no host' "),
        ({"gpu": "H100", "hosts": [8]}, "cluster.hosts: 8 .*names of hosts"),
        ({"gpu": "H100", "hosts": ["a b c"]}, "cluster.hosts: 'a b c' .*names of hosts"),
        ({"gpu": "H100", "hosts": ["-oProxyCommand=x"]}, "cluster.hosts: .*names of hosts"),
        ({"gpu": "H100", "hosts": "nowhere.txt"}, "cluster.hosts: 'nowhere.txt' .*No such file"),
        ({"gpu": "H100", "hosts": 3}, "cluster.hosts: 3 .*a list of hosts, or a host file"),
        ({"gpu": "H100", "nodes": 0}, "nodes: 0 .*greater than or equal to 1"),
        ({"gpu": "GB200", "nodes": 2, "scale_up_gpus": 6}, "cluster.scale_up_gpus: 6 .*the 4 GPUs of a node"),
    ],
)
def test_bad_input_is_one_clear_message(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        stated_cluster(given, machine=h100x8)


def test_the_documented_section_is_a_cluster() -> None:
    """docs/adding-a-gpu.md: a device and a link of one's own, and a domain of two nodes."""
    text = (Path(__file__).parents[2] / "docs" / "adding-a-gpu.md").read_text(encoding="utf-8")
    section = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])["cluster"]
    cluster, assumed = stated_cluster(section)
    assert (cluster.device.name, cluster.scale_up.name, cluster.scale_out.name) == ("X1", "mesh", "RoCE-400")
    assert (cluster.num_gpus, cluster.gpus_per_domain, assumed) == (32, 16, ())


def test_hosts_as_mpi_writes_them() -> None:
    assert parse_hosts(["a.example.org slots=8 max_slots=8", "b:8"]) == (
        Host("a.example.org", 8),
        Host("b", 8),
    )


def install(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def only_tools(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))


def test_the_command_line_reads_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an nvidia-smi that prints the recordings."""
    install(
        tmp_path,
        "nvidia-smi",
        f'if [ "$1" = topo ]; then exec /bin/cat {RECORDED}/h100x8.topo.txt; fi\n'
        f"exec /bin/cat {RECORDED}/h100x8.gpus.csv",
    )
    only_tools(tmp_path, monkeypatch)
    asked = ("plan", "--model", "Qwen3-30B-A3B", "--gpu", "auto", "--json")
    outcome = shardwright(*asked)
    assert outcome.status in (0, 1), outcome.err
    deployment = json.loads(outcome.out)["deployment"]
    assert (deployment["cluster"]["nodes"], deployment["cluster"]["gpus_per_node"]) == (1, 8)
    assert deployment["assumptions"][0].startswith("This machine has 8 x NVIDIA H100 80GB HBM3")
    file = tmp_path / "deployment.yaml"
    file.write_text("{model: Qwen3-30B-A3B, cluster: auto, targets: {tpot_ms: 50}}", encoding="utf-8")
    printed = shardwright("plan", str(file))
    assert "This machine has 8 x NVIDIA H100 80GB HBM3" in printed.out
    assert "--gpus: 16" not in shardwright(*asked, "--gpus", "4").err
    too_many = shardwright(*asked, "--gpus", "16")
    assert (too_many.status, "at most the 8 GPUs of this machine" in too_many.err) == (2, True)
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS, encoding="utf-8")
    two = json.loads(shardwright(*asked, "--hosts", str(hosts)).out)["deployment"]["cluster"]
    assert (two["nodes"], two["gpus_per_node"]) == (2, 8)


def test_no_tool_is_exit_status_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_tools(tmp_path, monkeypatch)
    outcome = shardwright("plan", "--model", "Qwen3-30B-A3B", "--gpu", "auto")
    assert (outcome.status, outcome.out) == (3, "")
    assert outcome.err.startswith("shardwright: cluster: auto: this machine has none of nvidia-smi, amd-smi")
    assert len(outcome.err.splitlines()) == 1


def test_a_dead_driver_is_exit_status_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "nvidia-smi", f"/bin/cat {RECORDED}/driver_failed.txt; exit 9")
    only_tools(tmp_path, monkeypatch)
    outcome = shardwright("plan", "--model", "Qwen3-30B-A3B", "--gpu", "auto")
    assert outcome.status == 3
    assert "ended with status 9, and said: NVIDIA-SMI has failed because it couldn't" in outcome.err


def test_a_tool_that_hangs_or_cannot_run_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "nvidia-smi", "exec /bin/sleep 30")
    monkeypatch.setattr(tool, "TIMEOUT_S", 0.2)
    only_tools(tmp_path, monkeypatch)
    with pytest.raises(EnvironmentLacksError, match=r"nvidia-smi gave no answer within 0\.2 s"):
        tool.tool_output(["nvidia-smi"])
    (tmp_path / "nvidia-smi").write_text("no program", encoding="utf-8")
    with pytest.raises(EnvironmentLacksError, match="nvidia-smi cannot be run"):
        tool.tool_output(["nvidia-smi"])
    assert tool.tool_output(["rocm-smi"]) is None


def test_a_network_that_blocks_is_stated_by_how_much() -> None:
    stated = {"gpu": "H100", "nodes": 4, "scale_out": "NDR"}
    blocking, said = stated_cluster({**stated, "oversubscription": 2})
    free, _ = stated_cluster(stated)
    assert said == ()
    assert (blocking.between_bytes_per_s, free.between_bytes_per_s) == (25e9, 50e9)
    with pytest.raises(InputError, match=r"cluster.oversubscription: 0.5 .*greater than or equal to 1"):
        stated_cluster({**stated, "oversubscription": 0.5})
