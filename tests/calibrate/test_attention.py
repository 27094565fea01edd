"""Tables of attention become rows, and the laws that made the rows are found again."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from shardwright.calibrate.attention import (
    ABSORBING,
    NO_WINDOW,
    decode_kind,
    decode_rows,
    like_attention,
    prefill_kind,
    prefill_rows,
)
from shardwright.calibrate.fit import fit, fit_form
from shardwright.calibrate.gemm import batched_kind, batched_rows
from shardwright.calibrate.rows import Rows
from shardwright.calibrate.score import ratios
from shardwright.cost.decode import DecodeLaw, measured_decode_seconds
from shardwright.cost.gemm import gemm_form_seconds
from shardwright.cost.prefill import PrefillLaw, prefill_form_seconds
from shardwright.steps.operation import Attention, Gemm
from tests.calibrate.samples import H100, TRUE
from tests.samples import EXACT

Columns = dict[str, NDArray[Any]]

DECODE = DecodeLaw(
    kernels="vllm",
    version="1.0",
    kernel="known",
    format="bf16",
    rows=0,
    scale="kv_bytes",
    bands=(EXACT,),
    head_dims=(64, 128),
    t0=9.0,
    wave=3.0,
    group_wave=0.05,
    em=0.85,
    ec=0.6,
    walk=0.8,
    power=2.0,
    cache_mb=45.0,
    hot=0.4,
)

PREFILL = PrefillLaw(
    kernels="vllm",
    version="1.0",
    kernel="known",
    format="bf16",
    rows=0,
    scale="query_tokens",
    bands=(EXACT,),
    head_dims=(64, 128),
    t0=12.0,
    ec=0.6,
    em=0.5,
    ew=0.3,
    tail=0.8,
    power=2.0,
)


def grid(**axes: tuple[float, ...]) -> Columns:
    """One row for each combination."""
    columns = np.array(np.meshgrid(*axes.values())).reshape(len(axes), -1)
    return dict(zip(axes, columns.astype(int), strict=True))


def operation(phase: str, columns: Columns) -> Attention:
    """What a row of the table is, written out once more."""
    window = np.where(columns["window_size"] > 0, columns["window_size"], NO_WINDOW)
    length = columns["isl"] + columns["step"]
    kv_heads, size = columns["num_key_value_heads"], columns["head_dim"]
    return Attention(
        name="",
        phase="decode" if phase == "generation" else "prefill",
        sequences=columns["batch_size"],
        query_tokens=columns["isl"],
        context=np.minimum(length, window) if phase == "generation" else length,
        heads=columns["num_heads"],
        kv_heads=kv_heads,
        qk_dim=size,
        v_dim=size,
        row_bytes=kv_heads * size * 4,
        window=window,
    )


def decode_columns() -> Columns:
    return grid(
        batch_size=(1, 4, 16, 64, 256, 1024),
        step=(0, 127, 511, 2047, 8191, 32767),
        num_heads=(8, 16, 32, 64),
        num_key_value_heads=(2, 8),
        head_dim=(64, 128),
        window_size=(0, 1024),
        isl=(1,),
    )


def prefill_columns() -> Columns:
    return grid(
        batch_size=(1, 4, 16, 64),
        isl=(16, 128, 512, 2048, 8192),
        num_heads=(8, 16, 32, 64),
        num_key_value_heads=(2, 8),
        head_dim=(64, 128),
        window_size=(0, 128),
        step=(0,),
    )


def write(
    root: Path,
    phase: str,
    columns: Columns,
    seconds: NDArray[np.float64],
    *,
    kernel: NDArray[np.str_] | str = "known",
    kv_dtype: str = "bfloat16",
    operands: str = "bfloat16",
    engine: str = "vllm",
) -> Path:
    """A table of the phase 'generation' or 'context'."""
    count = len(seconds)
    told = {
        "kernel_source": np.broadcast_to(kernel, count),
        "kv_cache_dtype": np.full(count, kv_dtype),
        "attn_dtype": np.full(count, operands),
        "latency": seconds * 1e3,
    }
    folder = root / "h100_sxm" / "attention" / engine / "1.0"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{phase}_attention_perf.parquet"
    table = pa.table(columns | told)
    if file.exists():
        table = pa.concat_tables([parquet.read_table(file), table])
    parquet.write_table(table, file)
    return root / "h100_sxm"


def written_decode(root: Path) -> Rows[Attention]:
    columns = decode_columns()
    seconds = measured_decode_seconds(operation("generation", columns), H100, DECODE)
    (rows,) = decode_rows(write(root, "generation", columns, np.asarray(seconds)), H100)
    return rows


def written_prefill(root: Path) -> Rows[Attention]:
    columns = prefill_columns()
    seconds = prefill_form_seconds(operation("context", columns), H100, PREFILL)
    (rows,) = prefill_rows(write(root, "context", columns, np.asarray(seconds)), H100)
    return rows


def test_the_constants_of_decode_are_found(tmp_path: Path) -> None:
    rows = written_decode(tmp_path)
    kind = decode_kind(rows)
    law = fit_form(kind, rows, H100)
    for name in kind.parameters:
        assert getattr(law, name) == pytest.approx(getattr(DECODE, name), rel=0.03), name
    assert law.head_dims == (64, 128)
    assert not law.latent


def test_the_constants_of_prefill_are_found(tmp_path: Path) -> None:
    rows = written_prefill(tmp_path)
    kind = prefill_kind(rows)
    law = fit_form(kind, rows, H100)
    for name in kind.parameters:
        assert getattr(law, name) == pytest.approx(getattr(PREFILL, name), rel=0.03), name


def test_a_table_takes_up_what_depends_on_the_head_size(tmp_path: Path) -> None:
    rows = written_prefill(tmp_path)
    slower = np.where(rows.operation.head_dim == 64, 1.25, 1.0)
    rows = Rows(**{**vars(rows), "seconds": rows.seconds * slower})
    kind = prefill_kind(rows)
    missed = [np.abs(ratios(kind, rows, H100, fit(kind, rows, H100, table=t))[0] - 1) for t in (False, True)]
    assert np.median(missed[0]) > 0.04
    assert np.median(missed[1]) < 0.01


def test_knots_lie_where_rows_do(tmp_path: Path) -> None:
    """Groups of 1 to 32; contexts of less than a tile to 256; head sizes as measured."""
    axes = {axis.feature: axis.knots for axis in decode_kind(written_decode(tmp_path)).axes}
    assert axes["group"] == (0, 1, 2, 4, 5)
    assert axes["tiles"] == (-2, 0, 1, 2, 4, 6, 8)
    assert axes["head_dim"] == (6, 7)
    assert "windowed" in {axis.feature for axis in prefill_kind(written_prefill(tmp_path / "more")).axes}


def test_a_window_that_is_just_full_is_left_out(tmp_path: Path) -> None:
    """step 1023 would be: at 511 a window of 1024 hides nothing, at 2047 it does, and both are kept."""
    columns = decode_columns()
    columns["step"] = np.where(columns["step"] == 511, 1023, columns["step"])
    gpu = write(tmp_path, "generation", columns, np.full(len(columns["step"]), 1e-5))
    (rows,) = decode_rows(gpu, H100)
    full = (columns["step"] == 1023) & (columns["window_size"] == 1024)
    assert list(rows.excluded.values()) == [np.count_nonzero(full)]
    windowed = np.asarray(rows.operation.windowed).astype(bool)
    kept = columns["window_size"][~full] > 0
    assert (windowed == (kept & (columns["step"][~full] > 1023))).all()
    assert rows.operation.context[windowed].max() == 1024


def test_a_kernel_is_fitted_at_the_head_sizes_that_it_runs_most_of(tmp_path: Path) -> None:
    columns = decode_columns()
    kernel = np.where(columns["head_dim"] == 64, "small", "large")
    kernel[(columns["head_dim"] == 128) & (columns["num_heads"] == 8)] = "odd"
    gpu = write(tmp_path, "generation", columns, np.full(len(kernel), 1e-5), kernel=kernel)
    found = {rows.kernel: rows for rows in decode_rows(gpu, H100)}
    assert set(found) == {"small", "large"}
    assert set(np.unique(found["large"].operation.head_dim)) == {128}
    assert found["large"].excluded == {
        "most shapes of this head size run on another kernel": np.count_nonzero(kernel == "odd")
    }
    law = DECODE.model_copy(update={"head_dims": (64.0, 256.0)})
    assert like_attention(law, found["small"])
    assert not like_attention(law, found["large"])
    assert not like_attention(law.model_copy(update={"latent": True}), found["small"])


def test_queries_in_bf16_are_preferred_unless_they_are_few(tmp_path: Path) -> None:
    columns = prefill_columns()
    count = len(columns["isl"])
    few = {name: column[: count // 3] for name, column in columns.items()}
    write(tmp_path, "context", columns, np.full(count, 1e-5), kv_dtype="fp8", operands="fp8", kernel="narrow")
    write(tmp_path, "context", few, np.full(count // 3, 1e-5), kv_dtype="fp8", kernel="wide")
    write(tmp_path, "context", columns, np.full(count, 1e-5), kernel="plain")
    gpu = write(
        tmp_path, "context", columns, np.full(count, 1e-5), kv_dtype="fp8", operands="fp8", engine="trtllm"
    )
    write(tmp_path, "context", columns, np.full(count, 1e-5), kv_dtype="fp8", kernel="wide", engine="trtllm")
    found = [(rows.kernels, rows.format, rows.kernel) for rows in prefill_rows(gpu, H100)]
    assert found == [("vllm", "bf16", "plain"), ("vllm", "fp8", "narrow"), ("trtllm", "fp8", "wide")]


def test_tables_older_than_windows_have_none(tmp_path: Path) -> None:
    columns = {name: column for name, column in decode_columns().items() if name != "window_size"}
    gpu = write(tmp_path, "generation", columns, np.full(len(columns["step"]), 1e-5))
    (rows,) = decode_rows(gpu, H100)
    assert not np.any(rows.operation.windowed)
    assert rows.excluded == {}


def write_mla(root: Path, name: str, kernel: str) -> Path:
    columns = grid(num_heads=(1, 16, 128), batch_size=(1, 64), step=(0, 4095), isl=(1,), tp_size=(8,))
    if name == "context_mla":
        columns |= {"isl": columns["step"] + 1, "step": np.zeros_like(columns["step"])}
    count = len(columns["isl"])
    told = {
        "kernel_source": np.full(count, kernel),
        "kv_cache_dtype": np.full(count, "fp8"),
        "mla_dtype": np.full(count, "bfloat16"),
        "latency": np.full(count, 0.01),
    }
    folder = root / "h100_sxm" / "mla" / "sglang" / "1.0"
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns | told), folder / f"{name}_perf.parquet")
    return root / "h100_sxm"


def test_mla_decodes_against_one_latent_row(tmp_path: Path) -> None:
    """576 bytes of fp8 a token, whatever the heads; a product of 576 and 512 a head."""
    (rows,) = decode_rows(write_mla(tmp_path, "generation_mla", "any"), H100)
    assert decode_kind(rows).stated == {"latent": True, "head_dims": (544.0,)}
    last = rows.where(np.array([len(rows) - 1])).operation
    assert (last.heads, last.sequences, last.context, last.kv_heads) == (128, 64, 4096, 1)
    assert last.bytes == 64 * 4096 * 576
    assert last.flops == 64 * 4096 * 2 * 128 * (576 + 512)
    assert len(np.unique(rows.shapes)) == 6


def test_mla_prefills_with_keys_and_values_of_every_head(tmp_path: Path) -> None:
    gpu = write_mla(tmp_path, "context_mla", "any")
    (rows,) = prefill_rows(gpu, H100)
    assert len(rows) == 12
    last = rows.where(np.array([len(rows) - 1])).operation
    assert last.flops == 64 * 4096 * 2 * 128 * (192 + 128) * 4097 / 2


@pytest.mark.parametrize("kernel", ABSORBING)
def test_a_prompt_against_the_latent_kv_makes_no_law(tmp_path: Path, kernel: str) -> None:
    (rows,) = prefill_rows(write_mla(tmp_path, "context_mla", kernel), H100)
    assert len(rows) == 0
    assert prefill_kind(rows).scale == "query_tokens"


def test_absorbed_projections_are_batches_of_a_gemm_a_head(tmp_path: Path) -> None:
    columns = grid(num_tokens=tuple(2.0 ** np.arange(13)), num_heads=(1, 2, 4, 8, 16, 32, 64, 128), op=(0, 1))
    keys = columns.pop("op") == 0
    truth = Gemm(
        name="",
        m=columns["num_tokens"],
        n=np.where(keys, 512, 128),
        k=np.where(keys, 128, 512),
        weight_dtype="bf16",
        weight_bytes=2,
        batch=columns["num_heads"],
    )
    told = {
        "bmm_dtype": np.full(len(keys), "bfloat16"),
        "kernel_source": np.full(len(keys), "known"),
        "op_name": np.where(keys, "mla_gen_pre", "mla_gen_post"),
        "latency": np.asarray(gemm_form_seconds(truth, H100, TRUE)) * 1e3,
    }
    folder = tmp_path / "mla_bmm" / "vllm" / "1.0"
    folder.mkdir(parents=True)
    parquet.write_table(pa.table(columns | told), folder / "mla_bmm_perf.parquet")
    (rows,) = batched_rows(tmp_path, H100)
    kind = batched_kind(rows)
    assert len(np.unique(rows.shapes)) == 16
    law = fit(kind, rows, H100)
    assert np.abs(ratios(kind, rows, H100, law)[0] - 1).max() < 0.02
    for name in ("t0", "ec", "em"):
        assert getattr(law, name) == pytest.approx(getattr(TRUE, name), rel=0.05)
