"""Whole MLA blocks as they were measured, beside the sum of our operators: errors, and rows in the interval.

    python benchmarks/mla_blocks.py TABLES [GPU ...]

TABLES: a folder with mla_generation_module and mla_context_module tables (aiconfigurator-core 0.12.0,
systems/data). A block of DeepSeek-V3 is the projections, attention and output projection of one layer,
without its sum over TP. `alone`: rows inside the interval of the operators themselves; `inside`: with what a
composition adds (cost/constants.yaml), which is what `plan` prints for a step. vLLM's decode blocks on Hopper
took at least 70 us whatever their size: their host was timed, as in its tables of fp8 blocks.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

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

WEIGHTS: dict[str, Dtype] = {"bfloat16": "bf16", "fp8_block": "fp8", "nvfp4": "fp4"}

ABSORBED = ("FLASH_ATTN_MLA", "FLASHMLA", "FLASHINFER_MLA", "TRITON_MLA")
"""Kernels of decode, which some rows of a prompt ran on: our program expands a prompt's keys and values."""


def main() -> None:
    """One line a table."""
    root, wanted = Path(sys.argv[1]), sys.argv[2:]
    print(f"{'GPU':<18} {'block':<40}  rows  median    p90   bias  alone  inside")
    for folder, device in gpu_folders(root).items():
        if wanted and device not in wanted:
            continue
        for phase, name in (("decode", "mla_generation_module_perf"), ("prefill", "mla_context_module_perf")):
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
                if table.engine in ("vllm", "trtllm") and table.key[0] in WEIGHTS:
                    report(device, phase, table)


def report(device: str, phase: Phase, table: Table) -> None:
    """Errors of one table's rows, and how many lie inside."""
    is_ours = (table.columns["architecture"] == "DeepseekV3ForCausalLM") & (
        table.columns["mla_dtype"] == "bfloat16"
    )
    if phase == "prefill":
        is_ours &= ~np.isin(table.columns["kernel_source"], ABSORBED)
    rows = np.flatnonzero(is_ours)
    if not len(rows):
        return
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
        found.append((ratio, reach.low <= ratio <= reach.high, wide.low <= ratio <= wide.high))
    ratio, alone, inside = np.array(found, dtype=float).T
    error = np.abs(1 / ratio - 1)
    what = f"{table.engine} {phase} {table.key[0]} kv {table.key[1]}"
    print(
        f"{device:<18} {what:<40} {len(ratio):>5} {np.median(error):>7.1%} {np.percentile(error, 90):>6.1%} "
        f"{np.median(1 / ratio) - 1:>+6.0%} {alone.mean():>6.0%} {inside.mean():>7.0%}",
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
