"""Profiles: those that are shipped, the devices that they stand in for, and the choice of a law."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.cluster.catalog import device_names, find_device
from shardwright.cost.gemm import gemm_form_seconds, gemm_seconds
from shardwright.cost.law import choose, formats_of, peak_flops
from shardwright.cost.profile import PROFILES, Profile, profile_for, profile_text, read_profile
from shardwright.steps.operation import Gemm

SHIPPED = sorted(
    file.name.removesuffix(".json") for file in PROFILES.iterdir() if file.name.endswith(".json")
)


def test_measured_devices_have_a_profile_of_their_own() -> None:
    own = {name for name in device_names() if profile_for(find_device(name))[1] == "measured"}
    assert own == set(SHIPPED)
    assert {"H100-SXM-80GB", "H200-SXM-141GB", "B200-SXM-180GB", "A100-SXM-80GB", "L40S-48GB"} <= own


@pytest.mark.parametrize(
    ("device", "profile", "distance"),
    [
        ("H20-SXM-96GB", "H100-SXM-80GB", "same family"),
        ("A100-SXM-64GB", "A100-SXM-80GB", "same family"),
        ("A10-24GB", "A100-SXM-80GB", "same vendor"),
        ("MI300X-192GB", "H100-SXM-80GB", "other vendor"),
        ("Ascend-910B3-64GB", "A100-SXM-80GB", "other vendor"),
    ],
)
def test_the_nearest_stands_in(device: str, profile: str, distance: str) -> None:
    found, how_far = profile_for(find_device(device))
    assert (found.device, how_far) == (profile, distance)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_profile_says_where_it_comes_from_and_how_far_off_it_is(name: str) -> None:
    profile = read_profile(name)
    assert profile.device == name
    assert profile.source
    assert profile.licence == "Apache-2.0"
    for law in profile.gemm:
        assert law.rows > 1000
        assert law.bands[-1].upto is None
        assert all(0 < band.median < band.p90 and band.low < 1 < band.high for band in law.bands)
    laws = Counter((law.kernels, law.format) for law in profile.gemm)
    assert set(laws.values()) == {1}
    assert Profile.model_validate_json(profile_text(profile)) == profile


def test_own_kernels_first_then_the_format_then_bf16() -> None:
    laws = read_profile("H100-SXM-80GB").gemm
    assert choose(laws, "vllm", ("fp8",)).kernel == "CutlassFP8ScaledMMLinearKernel"
    # vLLM's rows of fp8 in blocks timed the host: the same library, as another engine calls it, stands in.
    assert choose(laws, "vllm", formats_of("fp8", True)).kernel == "sglang_deepgemm_gemm_nt_f8f8bf16"
    assert choose(laws, "trtllm", formats_of("mxfp4", False)).format == "bf16"
    with pytest.raises(LookupError):
        choose((), "vllm", ("bf16",))


@given(
    st.integers(1, 32768),
    st.integers(64, 32768),
    st.integers(64, 32768),
    st.sampled_from(SHIPPED),
)
def test_a_gemm_is_never_faster_than_the_data_sheet(m: int, n: int, k: int, name: str) -> None:
    device, law = find_device(name), choose(read_profile(name).gemm, "vllm", ("bf16",))
    row = Gemm(name="", m=m, n=n, k=k, weight_dtype="bf16", weight_bytes=2)
    seconds = float(gemm_seconds(row, device, law))
    weights_s = n * k * 2 / device.memory_bandwidth_bytes_per_s
    assert seconds >= 0.95 * max(row.flops / peak_flops(device, "bf16"), weights_s)
    assert np.isfinite(seconds)


@given(st.integers(1, 4096), st.integers(64, 16384), st.integers(64, 16384))
def test_the_form_grows_with_every_size(m: int, n: int, k: int) -> None:
    device, law = find_device("H100-SXM-80GB"), read_profile("H100-SXM-80GB").gemm[0]

    def seconds(m: int, n: int, k: int) -> float:
        row = Gemm(name="", m=m, n=n, k=k, weight_dtype="bf16", weight_bytes=2)
        return float(gemm_form_seconds(row, device, law))

    once = seconds(m, n, k)
    assert seconds(2 * m, n, k) >= once
    assert seconds(m, 2 * n, k) > once
    assert seconds(m, n, 2 * k) > once
