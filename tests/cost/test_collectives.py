"""The laws of collectives beside what three laboratories measured."""

import csv
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from shardwright.cluster.catalog import find_link
from shardwright.cost.collectives import CollectiveLaw, collective_seconds, passed_bytes
from shardwright.cost.profile import PROFILES, read_profile

MEASURED = Path(__file__).parent / "measured" / "h100_all_reduce.csv"
DEVICES = sorted(file.name.removesuffix(".json") for file in PROFILES.iterdir() if file.name.endswith("json"))
WITH_NVLINK = [name for name in DEVICES if not name.startswith(("L40S", "RTX"))]


def library(device: str) -> dict[str, CollectiveLaw]:
    return {law.collective: law for law in read_profile(device).collectives if law.library == "nccl"}


def laboratories() -> dict[str, dict[int, float]]:
    """Source -> size in MiB -> us: the median of the rows within 2 % of 4, 8, ... 64 MiB."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    with MEASURED.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            nearest = round(int(row["bytes"]) / 2**20)
            found[row["source"]][nearest].append(float(row["time_us"]))
    return {
        source: {
            size: median(
                value for near, values in sizes.items() if abs(near / size - 1) < 0.05 for value in values
            )
            for size in (4, 8, 16, 32, 64)
        }
        for source, sizes in found.items()
    }


@pytest.mark.parametrize("size", [4, 8, 16, 32, 64])
def test_a_sum_over_eight_h100_is_that_of_three_laboratories(size: int) -> None:
    """NVIDIA's table, APEX+ and Vidur: within 5 % of each, or between them at 8 and 16 MiB, where they differ
    by 8 %. Below 4 MiB they differ by up to 60 %: other versions of NCCL."""
    measured_us = [sizes[size] for sizes in laboratories().values()]
    assert len(measured_us) == 3
    law = library("H100-SXM-80GB")["all_reduce"]
    ours_us = float(collective_seconds(law, find_link("NVLink4"), 8, size * 2**20)) * 1e6
    if size in (8, 16):
        assert min(measured_us) < ours_us < max(measured_us)
    else:
        assert all(abs(ours_us / each - 1) < 0.05 for each in measured_us)


@pytest.mark.parametrize("device", DEVICES)
def test_every_profile_has_all_collectives_and_more_bytes_take_longer(device: str) -> None:
    laws = library(device)
    assert sorted(laws) == ["all_gather", "all_reduce", "all_to_all", "reduce_scatter"]
    link, sizes = find_link("NVLink4"), 2.0 ** np.arange(20, 33, 0.5)
    for law in read_profile(device).collectives:
        for ranks in (2, 4, 8, 16):
            seconds = np.asarray(collective_seconds(law, link, np.full(len(sizes), ranks), sizes))
            assert (seconds[2:] > seconds[:-2]).all(), (law.kernel, ranks)


@pytest.mark.parametrize("device", WITH_NVLINK)
def test_held_out_sizes_meet_the_target(device: str) -> None:
    """6 % in the median and 18 % at the 90th percentile, whole sizes held out, on H100, H200 and B200.

    NCCL's all-to-all on H200 is at 18.0 %; vLLM's own sum on B300 jumps between its kernels.
    """
    median, p90 = (0.06, 0.18) if device.startswith(("H100", "H200", "B200")) else (0.06, 0.25)
    for law in read_profile(device).collectives:
        assert law.bands[0].median < median, law.kernel
        assert law.bands[0].p90 <= p90, law.kernel


@pytest.mark.parametrize(
    ("collective", "passed"),
    [("all_reduce", 1.75), ("all_gather", 0.875), ("reduce_scatter", 0.875), ("all_to_all", 0.875)],
)
def test_what_eight_ranks_pass_on(collective: str, passed: float) -> None:
    assert passed_bytes(collective, 8, 1.0) == passed  # type: ignore[arg-type]
    assert passed_bytes(collective, 1, 1.0) == 0  # type: ignore[arg-type]
