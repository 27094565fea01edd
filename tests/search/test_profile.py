"""A profile of one's own prices the plan; what it has no law of is the shipped one's."""

from pathlib import Path

import pytest

from shardwright.cluster.catalog import find_device
from shardwright.cost.profile import EVERY_DEVICE_NEEDS, Profile, laws_on, profile_text, read_profile
from shardwright.errors import InputError
from shardwright.plan.deployment import Deployment, resolve
from shardwright.search.search import search

SHIPPED = read_profile("H100-SXM-80GB")
SLOW = SHIPPED.model_copy(
    update={
        "source": "this machine",
        "gemm": tuple(law.model_copy(update={"t0": law.t0 + 100}) for law in SHIPPED.gemm),
        "experts": (),
    }
)


def deployment(folder: Path, **more: object) -> Deployment:
    values = {
        "model": "Qwen3-30B-A3B",
        "cluster": {"gpu": "H100", "nodes": 1, "gpus_per_node": 4},
        "layout": "tp4/ep4",
        **more,
    }
    return resolve(values, folder=folder)


def test_its_laws_are_those_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(profile_text(SLOW))
    shipped, own = search(deployment(tmp_path)), search(deployment(tmp_path, profile="mine.json"))
    gemms = (48 * 3 + 1) * 100e-6  # qkv, output and router of 48 layers, and the head
    slower = own.pools[0].seconds_by_family["gemm"] - shipped.pools[0].seconds_by_family["gemm"]
    if own.pools[0].layout == shipped.pools[0].layout:
        assert slower == pytest.approx(gemms, rel=0.5)
    assert own.pools[0].figures.step_s.value > shipped.pools[0].figures.step_s.value
    assert own.profile == "H100-SXM-80GB, 2026-11, this machine (measured)"


def test_what_it_lacks_is_the_next_best_ones() -> None:
    found = laws_on(find_device("H100-SXM-80GB"), SLOW)
    assert found.experts == SHIPPED.experts
    assert found.gemm == SLOW.gemm
    bare = Profile(device="X", source="", licence="", date="", tool="")
    filled = laws_on(find_device("MI300X-192GB"), bare)
    assert all(getattr(filled, field) for field in EVERY_DEVICE_NEEDS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "expected a readable file"),
        ("{", "expected a JSON file"),
        ('{"device": 3}', "profile.device"),
        (
            profile_text(read_profile("B200-SXM-180GB")),
            "expected a profile of H100-SXM-80GB, the cluster's GPU",
        ),
        (profile_text(SHIPPED).replace('"m"', '"q"', 1), "profile"),
    ],
)
def test_a_bad_one_is_one_message(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "mine.json").write_text(text)
    with pytest.raises(InputError, match="profile") as caught:
        deployment(tmp_path, profile="mine.json")
    assert said in str(caught.value)
