"""Whole MLA blocks as they were measured, beside the sum of our operators: errors, and rows in the interval.

    python benchmarks/mla_blocks.py TABLES [GPU ...]

TABLES: a folder with mla_generation_module and mla_context_module tables (aiconfigurator-core 0.12.0,
systems/data). A block of DeepSeek-V3 is the projections, attention and output projection of one layer,
without its sum over TP. `alone`: rows inside the interval of the operators themselves; `inside`: with what a
composition adds (cost/constants.yaml), which is what `plan` prints for a step; `needed`: the composition that
would hold nine rows of ten. `least`: the shortest block in microseconds: where it is 57 and more on a GPU
whose twin has 30, a host was timed. At the end a line for all rows of an engine on a GPU.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardwright.calibrate.tables import Table, gpu_folders, tables
from shardwright.cluster.catalog import build_cluster
from shardwright.cost.clock import Range, operation_seconds, program_range
from shardwright.cost.interval import reach_of
from shardwright.cost.price import wires_of
from shardwright.cost.wires import Wires
from shardwright.engine.catalog import ENGINES
from shardwright.layout.layout import Layout
from shardwright.model.catalog import find_model
from shardwright.model.dtype import Dtype
from shardwright.model.spec import ModelSpec
from shardwright.steps.attention import attention_block
from shardwright.steps.forms import Forms
from shardwright.steps.load import Load
from shardwright.steps.operation import Communication, Operation, Phase

ROWS = 300
"""Drawn of each table."""

PHASES: tuple[tuple[Phase, str], ...] = (
    ("decode", "mla_generation_module_perf"),
    ("prefill", "mla_context_module_perf"),
)

WEIGHTS: dict[str, Dtype] = {"bfloat16": "bf16", "fp8_block": "fp8", "nvfp4": "fp4"}

ABSORBED = ("FLASH_ATTN_MLA", "FLASHMLA", "FLASHINFER_MLA", "TRITON_MLA")
"""Kernels of decode, which some rows of a prompt ran on: our program expands a prompt's keys and values."""

Floats = NDArray[np.float64]


def main() -> None:
    """One line a table, then one for all tables of an engine and phase."""
    root, wanted = Path(sys.argv[1]), sys.argv[2:]
    print(f"{'GPU':<18} {'block':<46}  least  rows  median    p90   bias  alone  inside  needed")
    pools: dict[tuple[str, str], list[tuple[float, Floats]]] = {}
    for folder, device in gpu_folders(root).items():
        if wanted and device not in wanted:
            continue
        for phase, name in PHASES:
            columns = (
                "num_heads",
                "batch_size",
                "isl",
                "step",
                "latency",
                "architecture",
                "mla_dtype",
                "kernel_source",
            )
            by = ("gemm_type", "kv_cache_dtype")
            for table in tables(folder, "mla", name, columns, by=by):
                if table.engine not in ("vllm", "trtllm") or table.key[0] not in WEIGHTS:
                    continue
                least_us, found = rows_of(device, phase, table)
                if len(found):
                    engine = f"{table.engine} {table.version} {phase}"
                    report(device, f"{engine} {table.key[0]} kv {table.key[1]}", least_us, found)
                    pools.setdefault((device, engine), []).append((least_us, found))
    for (device, engine), pool in pools.items():
        report(device, engine, min(least for least, _ in pool), np.concatenate([found for _, found in pool]))


def rows_of(device: str, phase: Phase, table: Table) -> tuple[float, Floats]:
    """(shortest block in microseconds, a line a row: measured / predicted, where the interval of the
    operators ends on that side, inside of it, inside of a step's)."""
    is_ours = (table.columns["architecture"] == "DeepseekV3ForCausalLM") & (
        table.columns["mla_dtype"] == "bfloat16"
    )
    if phase == "prefill":
        is_ours &= ~np.isin(table.columns["kernel_source"], ABSORBED)
    rows = np.flatnonzero(is_ours)
    if not len(rows):
        return 0.0, np.empty((0, 4))
    chosen = np.random.default_rng(0).permutation(rows)[:ROWS]
    heads, batch, isl, past, latency_ms = table.numbers("num_heads", "batch_size", "isl", "step", "latency")
    model = deepseek(table.key[0], table.key[1])
    cluster, _ = build_cluster(gpu=device, nodes=1, gpus_per_node=8)
    wires = wires_of(ENGINES[table.engine], cluster, Layout())
    found = []
    for row in chosen:
        new = 1.0 if phase == "decode" else isl[row]
        context = max(past[row] + (0 if phase == "decode" else new), 1)
        load = Load(phase=phase, sequences=batch[row], query_tokens=new, context=context)
        layout = Layout(tp=int(128 // heads[row]))
        seconds, reach = summed(list(block(model, layout, load)), wires)
        wide = reach_of(cluster, None, 1, 1, reach)
        ratio = latency_ms[row] * 1e-3 / seconds
        end = reach.low if ratio < 1 else reach.high
        found.append((ratio, end, reach.low <= ratio <= reach.high, wide.low <= ratio <= wide.high))
    return float(latency_ms[rows].min()) * 1e3, np.array(found, dtype=float)


def report(device: str, what: str, least_us: float, found: Floats) -> None:
    """Errors of rows, how many lie inside, and the composition that would hold nine of ten.

    Widths join as in cost/interval.py: a row lies inside where ln(ratio)^2 <= ln(end)^2 + ln(composition)^2.
    """
    ratio, end, alone, inside = found.T
    error = np.abs(1 / ratio - 1)
    lacks = np.percentile(np.maximum(np.log(ratio) ** 2 - np.log(end) ** 2, 0), 90)
    print(
        f"{device:<18} {what:<46} {least_us:>6.0f} {len(ratio):>5} {np.median(error):>7.1%} "
        f"{np.percentile(error, 90):>6.1%} {np.median(1 / ratio) - 1:>+6.0%} {alone.mean():>6.0%} "
        f"{inside.mean():>7.0%} {np.exp(np.sqrt(lacks)):>7.2f}",
        flush=True,
    )


def deepseek(weights: str, kv: str) -> ModelSpec:
    """DeepSeek-V3 with linear layers and KV in these formats."""
    model = find_model("deepseek-ai/DeepSeek-V3")
    changes: dict[str, object] = {
        "weight_dtype": WEIGHTS[weights],
        "kv_dtype": "fp8" if kv == "fp8" else "bf16",
    }
    if weights != "fp8_block":
        changes["quantised"] = ()
    return model.model_copy(update=changes)


def block(model: ModelSpec, layout: Layout, load: Load) -> Iterator[Operation]:
    """The operations of one layer's attention on one rank."""
    for operation in attention_block(model, model.layer_shapes[-1], layout, load, Forms()):
        if not isinstance(operation, Communication):
            yield operation


def summed(operations: list[Operation], wires: Wires) -> tuple[float, Range]:
    """Seconds, and where the measured ones lie."""
    seconds = sum(float(np.asarray(operation_seconds(operation, wires))) for operation in operations)
    return seconds, program_range(operations, wires)


if __name__ == "__main__":
    main()
