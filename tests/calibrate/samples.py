"""Folders of tables as a law that the test knows would have made them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from shardwright.calibrate.expert_rows import dealt
from shardwright.cluster.catalog import find_device
from shardwright.cost.experts import ExpertsLaw, experts_form_seconds
from shardwright.cost.gemm import GemmLaw, gemm_form_seconds
from shardwright.steps.operation import Gemm, GroupedExperts
from tests.samples import EXACT

H100 = find_device("H100-SXM-80GB")

TRUE = GemmLaw(
    kernels="vllm",
    version="1.0",
    kernel="known",
    format="bf16",
    rows=0,
    scale="m",
    bands=(EXACT,),
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


EXPERTS_TRUE = ExpertsLaw(
    kernels="vllm",
    version="1.0",
    kernel="known_moe",
    format="bf16",
    rows=0,
    scale="rows",
    bands=(EXACT,),
    t0=20.0,
    ec=0.6,
    em=0.8,
    ea=0.4,
    eo=0.3,
    k0=100.0,
    power=3.0,
)

MODELS = (
    (2048, 768, 8, 128),
    (4096, 1536, 8, 128),
    (4096, 14336, 2, 8),
    (7168, 2048, 8, 256),
    (2048, 1408, 6, 64),
)
"""hidden, width, top-k, experts."""


def write_experts(root: Path, *, kernel: str = "known_moe") -> Path:
    """A moe_perf table of the true law, balanced and skewed, TP and EP up to 8."""
    rows = []
    for hidden, inter, top_k, experts in MODELS:
        for tp, ep in ((1, 1), (2, 1), (8, 1), (1, 2), (1, 8)):
            for tokens in (1, 16, 64, 256, 1024, 4096):
                for distribution, exponent in (("balanced", None), ("power_law_1.2", 1.2)):
                    deal = dealt(tokens, experts, top_k, ep, exponent)
                    operation = GroupedExperts(
                        name="",
                        rows=deal.rows,
                        foreign_rows=tokens * top_k - deal.rows,
                        active=deal.active,
                        hidden=hidden,
                        width=inter / tp,
                        weight_dtype="bf16",
                        weight_bytes=2,
                    )
                    latency = float(experts_form_seconds(operation, H100, EXPERTS_TRUE)) * 1e3
                    rows.append((tokens, hidden, inter, top_k, experts, tp, ep, distribution, latency))
    names = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size")
    columns = dict(zip((*names, "distribution", "latency"), zip(*rows, strict=True), strict=True))
    count = len(rows)
    folder = root / "h100_sxm" / "moe" / "vllm" / "1.0"
    folder.mkdir(parents=True)
    table = pa.table({**columns, "moe_dtype": ["bfloat16"] * count, "kernel_source": [kernel] * count})
    parquet.write_table(table, folder / "moe_perf.parquet")
    return root / "h100_sxm"
