"""A machine's own profile: a law is found again in rows that it made; the sheet is the best that was seen."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.calibrate.listing import rows_text
from shardwright.calibrate.own import Host, Measured, own_kind, own_profile, own_sheet
from shardwright.calibrate.rows import Rows, shape_numbers, stacked
from shardwright.calibrate.score import dealt
from shardwright.cluster.catalog import find_device
from shardwright.cost.collectives import PASSES
from shardwright.cost.gemm import GemmLaw, gemm_form_seconds, gemm_seconds
from shardwright.cost.law import Band
from shardwright.cost.profile import laws_on, profile_file
from shardwright.cost.small import SmallLaw, small_form_seconds, small_seconds
from shardwright.steps.operation import AllReduce, Gemm, Operation, Small

HOST = Host(
    kind="cpu",
    name="Test(R) CPU 9000",
    vendor="Nobody",
    memory_bytes=8 * 10**9,
    num_sms=2,
    torch_version="2.13.0",
)
EXAMPLE = Path(__file__).parents[2] / "examples/profiles/amd-epyc-1-thread.json"
NAME = "Test-CPU-9000-2-threads"

TRUTH: dict[str, Any] = {
    "kernels": "torch",
    "version": "2.13.0",
    "kernel": "known",
    "format": "bf16",
    "rows": 0,
    "bands": (Band(upto=None, rows=0, median=0, p90=0, low=1, high=1),),
}
GEMM = GemmLaw(**TRUTH, scale="m", tile_rows=1, t0=30.0, ec=0.9, em=0.6, k0=100.0, power=3.0)
SMALL = SmallLaw(**TRUTH, scale="bytes", t0=12.0, em=0.5)

# The true laws' device: 100 GFLOP/s and 20 GB/s.
SHEET = find_device("H100-SXM-80GB").model_copy(
    update={"peak_flops": {"bf16": 1e11}, "memory_bandwidth_bytes_per_s": 2e10, "num_sms": 2}
)


def gemm(m: float, n: float, k: float) -> Gemm:
    return Gemm(name="", m=m, n=n, k=k, weight_dtype="bf16", weight_bytes=2.0)


def rows_of(operations: list[Operation], seconds: Any, shapes: Any = None) -> Rows[Any]:
    numbers = np.arange(len(operations)) if shapes is None else shapes
    return Rows(
        kernels="torch",
        version="2.13.0",
        kernel="known",
        format="bf16",
        operation=stacked(operations),
        seconds=np.asarray(seconds, dtype=float),
        shapes=numbers,
    )


def gemm_rows(sizes: list[int]) -> Rows[Any]:
    operations = [gemm(m, n, k) for n in sizes for k in sizes for m in (1, 4, 16, 64, 256, 1024)]
    exact = [float(gemm_form_seconds(operation, SHEET, GEMM)) for operation in operations]
    columns = [np.array([getattr(operation, name) for operation in operations], float) for name in ("n", "k")]
    return rows_of(list(operations), exact, shape_numbers(*columns))


def small_rows() -> Rows[Any]:
    operations = [Small(name="", moved_bytes=2.0**power) for power in np.arange(10, 27, 0.5)]
    return rows_of(
        list(operations), [small_form_seconds(operation, SHEET, SMALL) for operation in operations]
    )


def measured(*rows: tuple[str, Rows[Any]], host: Host = HOST) -> Measured:
    memory = rows_of([Small(name="", moved_bytes=2e9), Small(name="", moved_bytes=1e9)], [0.1, 0.1])
    return Measured(host=host, memory=memory, rows=rows, date="2026-11-24")


def test_laws_are_found_again_without_their_sheet() -> None:
    """Between the shapes of the fit, too: the peak that was seen is below the true one, seconds are not."""
    profile, outcomes = own_profile(
        measured(("gemm", gemm_rows([256, 512, 1024, 2048, 4096])), ("small", small_rows()))
    )
    device = profile.hardware
    assert device is not None
    unseen = gemm(np.array([1.0, 3, 48, 700]), 1536, 3072)
    predicted = gemm_seconds(unseen, device, profile.gemm[0])
    assert predicted == pytest.approx(gemm_form_seconds(unseen, SHEET, GEMM), rel=0.02)
    norm = Small(name="", moved_bytes=3e5)
    assert small_seconds(norm, device, profile.small[0]) == pytest.approx(12e-6 + 3e5 / 2e10 / 0.5, rel=0.02)
    assert all(outcome.score is not None and outcome.score.median < 0.01 for outcome in outcomes)
    assert profile.gemm[0].tile_rows == 1
    assert profile.source == "184 rows measured on Test(R) CPU 9000, 2 threads, torch 2.13.0"


def test_the_sheet_is_the_best_that_was_seen() -> None:
    rows = rows_of([gemm(10, 10, 10), gemm(100, 100, 100)], [1e-6, 1e-4])
    sums = rows_of(
        [AllReduce(name="", axis="tp", num_ranks=ranks, payload_bytes=8e6) for ranks in (2, 4)], [8e-3, 1e-2]
    )
    device, link = own_sheet(measured(("gemm", rows), ("collectives", sums)))
    assert (device.name, device.vendor, device.num_sms, device.memory_bytes) == (NAME, "Nobody", 2, 8 * 10**9)
    assert device.peak_flops == {"bf16": 2e10}  # 2 x 100^3 in 0.1 ms, not 2 x 10^3 in 1 us
    assert device.memory_bandwidth_bytes_per_s == 2e10
    assert link is not None
    assert link.bandwidth_bytes_per_s == 1.2e9  # three quarters of 8 MB twice in 10 ms, not a half in 8 ms
    assert (device.scale_up_link, device.node_gpus) == (link.name, 4)


def test_a_known_gpu_keeps_its_data_sheet() -> None:
    host = Host(
        kind="cuda",
        name="NVIDIA H100 80GB HBM3",
        vendor="NVIDIA",
        memory_bytes=85520809984,
        num_sms=132,
        torch_version="2.13.0",
        known=find_device("H100-SXM-80GB"),
    )
    profile, _ = own_profile(measured(("gemm", gemm_rows([512, 1024])), host=host))
    assert (profile.device, profile.hardware, profile.scale_up) == ("H100-SXM-80GB", None, None)
    assert profile.gemm[0].tile_rows == 64


@pytest.mark.parametrize(("sizes", "held_out"), [([512], 0), ([512, 1024], 24)])
def test_few_shapes_make_a_law_and_one_alone_no_score(sizes: list[int], held_out: int) -> None:
    profile, (outcome,) = own_profile(measured(("gemm", gemm_rows(sizes))))
    assert (outcome.score.rows if outcome.score else 0) == held_out
    assert [band.upto for band in profile.gemm[0].bands] == [128, 1024, None]
    assert all(band.low <= 1 <= band.high for band in profile.gemm[0].bands)


def test_one_row_is_enough_to_go_on() -> None:
    profile, _ = own_profile(measured(("gemm", rows_of([gemm(64, 64, 64)], [1e-5]))))
    assert profile.hardware is not None
    law = profile.gemm[0]
    assert gemm_seconds(gemm(64, 64, 64), profile.hardware, law) == pytest.approx(1e-5, rel=0.1)


@given(st.integers(1, 60))
def test_every_part_has_a_shape(num_shapes: int) -> None:
    parts = np.bincount(dealt(np.arange(num_shapes)))
    assert len(parts) == min(num_shapes, 5)
    assert (parts > 0).all()


def test_operations_are_stacked_by_what_differs() -> None:
    one = stacked([gemm(1, 8, 4), gemm(2, 8, 6)])
    assert (one.m.tolist(), one.n, one.k.tolist(), one.weight_bytes) == ([1, 2], 8, [4, 6], 2.0)  # type: ignore[union-attr]


def test_every_row_is_listed_with_where_it_comes_from() -> None:
    found = measured(("gemm", gemm_rows([512])), ("small", small_rows()))
    first, second, *lines = rows_text(found).splitlines()
    assert (first, second) == (f"# {own_profile(found)[0].source}", "# 2026-11-24")
    table = list(csv.DictReader(lines))
    assert len(table) == 2 + 6 + 34
    wide = next(row for row in table if row["operation"] == "gemm" and row["m"] == "1024")
    assert float(wide["seconds"]) == pytest.approx(
        float(gemm_form_seconds(gemm(1024, 512, 512), SHEET, GEMM)), rel=1e-3
    )
    assert wide["moved_bytes"] == ""


def test_tables_of_own_kinds_are_small() -> None:
    """Some hundreds of rows are not asked for more values than they are."""
    for field, rows in (("gemm", gemm_rows([512])), ("small", small_rows())):
        assert np.prod([len(axis.knots) for axis in own_kind(field, rows, "cuda").axes]) <= 256


def test_the_example_can_be_read() -> None:
    profile = profile_file(EXAMPLE)
    assert profile.hardware is not None and profile.scale_up is not None
    assert {law.collective for law in profile.collectives} == set(PASSES)
    for field in ("gemm", "prefill", "decode", "experts", "small"):
        assert [law.kernels for law in getattr(profile, field)] == ["torch"]


def test_mla_is_priced_by_what_is_shipped() -> None:
    """The example has no latent KV: those laws, and the batches of MLA, are of the nearest device."""
    own = profile_file(EXAMPLE)
    assert own.hardware is not None
    whole = laws_on(own.hardware, own)
    assert whole.decode[0] == own.decode[0]
    assert {law.latent for law in whole.decode} == {law.latent for law in whole.prefill} == {False, True}
    assert all(law.latent for law in (*whole.decode[1:], *whole.prefill[1:]))
    assert whole.batched_gemm and whole.gemm == own.gemm


def test_slower_rows_make_a_slower_law() -> None:
    rows = gemm_rows([512, 1024, 2048])
    device, _ = own_sheet(measured(("gemm", rows)))
    slower = replace(rows, seconds=rows.seconds * 3)
    laws = [own_profile(measured(("gemm", each)))[0] for each in (rows, slower)]
    fast, slow = (gemm_seconds(gemm(32, 1024, 1024), law.hardware or device, law.gemm[0]) for law in laws)
    assert slow == pytest.approx(3 * fast, rel=0.02)
