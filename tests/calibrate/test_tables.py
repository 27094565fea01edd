"""Which table is read, which rows are left out, and what a bad folder is told."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from shardwright.calibrate.gemm import gemm_rows
from shardwright.calibrate.tables import gpu_folders
from shardwright.errors import InputError
from tests.calibrate.samples import H100, write_gemm


def test_the_newest_version_is_read_unless_it_is_thin(tmp_path: Path) -> None:
    write_gemm(tmp_path, version="0.9.12")
    write_gemm(tmp_path, version="0.10.0rc2")
    gpu = write_gemm(tmp_path, version="0.11.0", every=3)
    assert [rows.version for rows in gemm_rows(gpu, H100)] == ["0.10.0rc2"]


def test_each_engine_and_format_has_rows_of_its_own(tmp_path: Path) -> None:
    write_gemm(tmp_path)
    write_gemm(tmp_path, engine="trtllm", dtype="fp8", kernel="torch_flow")
    gpu = write_gemm(tmp_path, engine="sglang", dtype="sq")
    found = [(rows.kernels, rows.kernel, rows.format) for rows in gemm_rows(gpu, H100)]
    assert found == [("vllm", "known", "bf16"), ("trtllm", "torch_flow", "fp8")]


def test_a_table_that_timed_the_host_makes_no_law(tmp_path: Path) -> None:
    (rows,) = gemm_rows(write_gemm(tmp_path, slower_s=70e-6), H100)
    assert len(rows) == 0
    assert rows.excluded == {"the host's launch was timed, not the kernel": 15 * 81}


def test_rows_faster_than_the_memory_are_left_out(tmp_path: Path) -> None:
    gpu = write_gemm(tmp_path)
    file = next(gpu.rglob("*.parquet"))
    table = parquet.read_table(file)
    latency = np.array(table["latency"].to_pylist())
    latency[-3:] = 1e-3
    parquet.write_table(table.set_column(5, "latency", pa.array(latency)), file)
    (rows,) = gemm_rows(gpu, H100)
    assert sum(rows.excluded.values()) == 3
    assert len(rows) == 15 * 81 - 3


@pytest.mark.parametrize("above", ["", "data", "systems/data", "wheel/systems/data"])
def test_gpus_are_found_below_the_folder(tmp_path: Path, above: str) -> None:
    write_gemm(tmp_path / above)
    write_gemm(tmp_path / above, gpu="nobody_knows")
    assert gpu_folders(tmp_path) == {tmp_path / above / "h100_sxm": "H100-SXM-80GB"}


def test_a_folder_of_one_gpu_will_do(tmp_path: Path) -> None:
    gpu = write_gemm(tmp_path)
    assert gpu_folders(gpu) == {gpu: "H100-SXM-80GB"}


def test_a_folder_without_tables_is_told_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--from: .*expected a folder with tables of a GPU: a100_sxm"):
        gpu_folders(tmp_path)


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    gpu = write_gemm(tmp_path)
    file = next(gpu.rglob("*.parquet"))
    file.write_text("no parquet")
    with pytest.raises(InputError, match=r"gemm_perf.parquet.*expected a parquet file"):
        list(gemm_rows(gpu, H100))
    parquet.write_table(pa.table({"gemm_dtype": ["bfloat16"], "m": [1]}), file)
    with pytest.raises(InputError, match=r"the columns \['k', 'kernel_source', 'latency', 'n'\] too"):
        list(gemm_rows(gpu, H100))
