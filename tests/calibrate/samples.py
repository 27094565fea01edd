"""Folders of tables as a law that the test knows would have made them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from shardwright.cluster.catalog import find_device
from shardwright.cost.gemm import GemmLaw, gemm_form_seconds
from shardwright.steps.operation import Gemm

H100 = find_device("H100-SXM-80GB")

TRUE = GemmLaw(
    kernels="vllm",
    version="1.0",
    kernel="known",
    format="bf16",
    rows=0,
    scale="m",
    bands=(),
    t0=5.0,
    ec=0.7,
    em=0.8,
    k0=200.0,
    power=3.0,
)

SIZES = 2.0 ** np.arange(6, 15)


def write_gemm(
    root: Path,
    *,
    gpu: str = "h100_sxm",
    engine: str = "vllm",
    version: str = "1.0",
    noise: float = 0.0,
    every: int = 1,
    kernel: str = "known",
    dtype: str = "bfloat16",
    slower_s: float = 0.0,
) -> Path:
    """A gemm_perf table: the true law's seconds, noise in ln, `slower_s` on top, one row in `every`."""
    rows = np.array(np.meshgrid(2.0 ** np.arange(0, 15), SIZES, SIZES)).reshape(3, -1)[:, ::every]
    m, n, k = rows
    seconds = gemm_form_seconds(Gemm(name="", m=m, n=n, k=k, weight_dtype="bf16", weight_bytes=2), H100, TRUE)
    seconds = seconds * np.exp(np.random.default_rng(1).normal(0, noise, len(m))) + slower_s
    columns = {
        "gemm_dtype": np.full(len(m), dtype),
        "kernel_source": np.full(len(m), kernel),
        "m": m.astype(int),
        "n": n.astype(int),
        "k": k.astype(int),
        "latency": seconds * 1e3,
    }
    folder = root / gpu / "gemm" / engine / version
    folder.mkdir(parents=True)
    parquet.write_table(pa.table(columns), folder / "gemm_perf.parquet")
    return root / gpu
