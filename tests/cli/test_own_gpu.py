"""A GPU that a profile names and describes is known wherever that profile is given; no catalog has it."""

import json
from pathlib import Path
from typing import Any

import pytest

from shardwright.cluster.catalog import device_names, find_device, find_link
from shardwright.cluster.device import Device, Link
from shardwright.cluster.own import OwnGpu
from shardwright.cost.profile import Profile, profile_text, read_profile
from shardwright.plan.deployment import Deployment, read_deployment, resolve
from shardwright.search.search import search
from tests.cli.run import shardwright

SHEET = find_device("H100").model_copy(
    update={
        "name": "Wafer-1",
        "scale_up_link": "mesh",
        "scale_up_gpus": 4,
        "node_gpus": 4,
        "source": "measured: the best rates seen",
    }
)
MESH = find_link("NVLink3").model_copy(update={"name": "mesh"})
OWN = OwnGpu(name="Wafer-1", device=SHEET, scale_up=MESH)
SAID = (
    "The data sheet of Wafer-1 and its link (mesh, 300 GB/s a GPU and direction) are those of its profile "
    "(measured: the best rates seen)."
)
SAID_ALONE = "The data sheet of Wafer-1 is that of its profile (measured: the best rates seen)."
JOINED = "The nodes are joined by InfiniBand-NDR (50 GB/s a GPU and direction): none was stated."
MODEL = ("--model", "Qwen3-8B")


def written(
    folder: Path, *, hardware: Device | None = SHEET, scale_up: Link | None = MESH, **more: Any
) -> str:
    """A file with H100's laws as those of Wafer-1."""
    update = {"device": "Wafer-1", "hardware": hardware, "scale_up": scale_up, **more}
    file = folder / "mine.json"
    file.write_text(profile_text(read_profile("H100-SXM-80GB").model_copy(update=update)))
    return str(file)


def section(deployment: Deployment) -> dict[str, Any]:
    """The cluster of a deployment, stated in fields of one's own."""
    cluster = deployment.cluster
    given = {"nodes": cluster.nodes, "gpus_per_node": cluster.gpus_per_node}
    return {**given, "gpu": cluster.device.model_dump(), "scale_up": cluster.scale_up.model_dump()}


@pytest.mark.parametrize("gpu", ["Wafer-1", "wafer 1", "wafer"])
@pytest.mark.parametrize(
    ("stated", "nodes", "per_node", "also"),
    [
        (("--gpus", "4"), 1, 4, ()),
        (("--gpus", "2"), 1, 2, ()),
        (("--gpus", "8"), 2, 4, (JOINED,)),
        (
            ("--gpus", "8", "--gpus-per-node", "8"),
            1,
            8,
            (
                "The 8 GPUs of a node are joined by mesh at its full rate, though Wafer-1 is known with 4 to "
                "a node.",
            ),
        ),
    ],
)
def test_options_name_it(
    gpu: str, stated: tuple[str, ...], nodes: int, per_node: int, also: tuple[str, ...], tmp_path: Path
) -> None:
    done = shardwright("plan", *MODEL, "--gpu", gpu, *stated, "--profile", written(tmp_path), "--json")
    assert done.status == 0, done.err
    plan = json.loads(done.out)
    given = Deployment.model_validate(plan["deployment"])
    assert (given.cluster.device, given.cluster.scale_up) == (SHEET, MESH)
    assert (given.cluster.nodes, given.cluster.gpus_per_node) == (nodes, per_node)
    assert given.assumptions[: 1 + len(also)] == (SAID, *also)
    assert plan["profile"].startswith("Wafer-1, ") and plan["profile"].endswith("(measured)")


def test_its_name_is_worth_its_fields(tmp_path: Path) -> None:
    """The plan is that of the same GPU stated in fields; without its profile, others are carried to it."""
    values = {"model": "Qwen3-8B", "profile": written(tmp_path)}
    named = resolve({**values, "cluster": {"gpu": "Wafer-1", "nodes": 2}})
    stated = resolve({**values, "cluster": section(named)})
    assert search(named).pools == search(stated).pools
    carried = resolve({"model": "Qwen3-8B", "cluster": section(named)})
    assert search(carried).pools[0].figures.step_s != search(named).pools[0].figures.step_s


def test_a_link_that_is_stated_wins(tmp_path: Path) -> None:
    cluster = {"gpu": "Wafer-1", "nodes": 2, "scale_up": "PCIe5", "scale_out": "NDR"}
    given = resolve({"model": "Qwen3-8B", "cluster": cluster, "profile": written(tmp_path)})
    assert (given.cluster.scale_up, given.cluster.scale_out) == (find_link("PCIe5"), find_link("NDR"))
    assert given.assumptions[0] == SAID_ALONE and JOINED not in given.assumptions


def test_links_that_were_not_measured_are_assumed(tmp_path: Path) -> None:
    alone = SHEET.model_copy(update={"scale_up_link": "PCIe4-x16", "scale_up_gpus": 1, "node_gpus": 1})
    profile = written(tmp_path, hardware=alone, scale_up=None)
    cluster = {"gpu": "Wafer-1", "gpus_per_node": 2}
    given = resolve({"model": "Qwen3-8B", "cluster": cluster, "profile": profile})
    assert given.assumptions[:2] == (
        SAID_ALONE,
        "The 2 GPUs of a node are joined by PCIe4-x16 (31.5 GB/s a GPU and direction), at its full rate "
        "whatever lies between: none was stated.",
    )


@pytest.mark.parametrize("verb", [("plan",), ("explain",), ("audit",), ("graph", "--format", "dot")])
def test_a_file_names_it_to_every_verb(verb: tuple[str, ...], tmp_path: Path) -> None:
    written(tmp_path)
    file = tmp_path / "deployment.yaml"
    file.write_text(
        "model: Qwen3-8B\ncluster: {gpu: Wafer-1, nodes: 1}\nprofile: mine.json\nlayout: tp4\n"
        "workload: {batch: 8, input_tokens: 64, output_tokens: 16}\n"
    )
    assert read_deployment(file).cluster.device == SHEET
    done = shardwright(verb[0], str(file), *verb[1:])
    assert done.status == 0, done.err
    assert "tp4" in done.out


def test_a_plan_of_it_can_be_read_without_the_profile(tmp_path: Path) -> None:
    profile = written(tmp_path)
    asked = ("--gpu", "Wafer-1", "--gpus", "4", "--profile", profile, "-o", str(tmp_path / "plan"))
    assert shardwright("plan", *MODEL, *asked).status == 0
    beside = shardwright("explain", str(tmp_path / "plan"), "--profile", profile)
    assert (beside.status, f"--profile: '{profile}' is not allowed" in beside.err) == (2, True)
    Path(profile).unlink()
    done = shardwright("explain", str(tmp_path / "plan"))
    assert done.status == 0, done.err
    assert "Wafer-1" in done.out


@pytest.mark.parametrize("where", ["option", "file"])
def test_a_command_is_priced_by_it(where: str, tmp_path: Path) -> None:
    command = "vllm serve Qwen/Qwen3-8B -tp 2"
    profile = written(tmp_path)
    given: tuple[str, ...] = ("--gpu", "Wafer-1", "--profile", profile)
    if where == "file":
        file = tmp_path / "deployment.yaml"
        file.write_text("cluster: {gpu: Wafer-1, gpus_per_node: 2}\nprofile: mine.json\n")
        given = (str(file),)
    done = shardwright("audit", command, *given, "--json")
    assert done.status == 0, done.err
    deployment = json.loads(done.out)["deployment"]
    assert Profile.model_validate(deployment["profile"]).device == "Wafer-1"
    assert deployment["cluster"]["device"]["name"] == "Wafer-1"
    assert SAID in deployment["assumptions"]


@pytest.mark.parametrize(
    ("gpu", "profile", "message"),
    [
        (
            "H100",
            {},
            "profile: 'Wafer-1' is not allowed; expected a profile of H100-SXM-80GB, the cluster's GPU",
        ),
        ("Wafer-1", {"device": "W1"}, "profile: 'W1' is not allowed; expected a profile of Wafer-1, "),
        (
            "Wafer-1",
            {"hardware": None, "scale_up": None},
            "--gpu: 'Wafer-1' is not allowed; expected a GPU of the catalog, or fields of your own: the "
            "profile of Wafer-1 states no hardware",
        ),
        ("Wafer-2", {}, "--gpu: 'Wafer-2' is not allowed; expected one of A100-SXM-40GB"),
        ("Wafer-2", {}, "(near: Wafer-1)"),
        (
            "Wafer-1",
            {"scale_up": find_link("NDR")},
            "cluster.scale_up: 'InfiniBand-NDR' is not allowed; expected a scale-up link",
        ),
    ],
)
def test_what_does_not_fit_is_one_message(
    gpu: str, profile: dict[str, Any], message: str, tmp_path: Path
) -> None:
    done = shardwright("plan", *MODEL, "--gpu", gpu, "--gpus", "4", "--profile", written(tmp_path, **profile))
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_file_says_where_the_profile_that_does_not_fit_stands(tmp_path: Path) -> None:
    written(tmp_path)
    file = tmp_path / "deployment.yaml"
    file.write_text("model: Qwen3-8B\ncluster: {gpu: H100}\nprofile: mine.json\n")
    assert shardwright("plan", str(file)).err.startswith(f"shardwright: {file}:3: profile: 'Wafer-1' ")
    file.write_text("model: Qwen3-8B\ncluster: {gpu: H100}\nprofile: [3]\n")
    assert shardwright("plan", str(file)).err.startswith(
        f"shardwright: {file}:3: profile: [3] is not allowed"
    )


@pytest.mark.parametrize("name", device_names())
def test_the_catalog_keeps_its_names(name: str) -> None:
    assert find_device(name, own=OWN) == find_device(name)
