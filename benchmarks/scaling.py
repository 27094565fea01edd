"""Cost of `shardwright plan` against the number of GPUs: the table of docs/speed.md. Prints; asserts nothing.

Each plan is a process of its own, the figures are the operating system's; CPU seconds are the median of RUNS.
The last line is the inner loop alone: every candidate priced by itself, none served by one that is alike.
"""

import json
import statistics
import sys
import time

from processes import run

from shardwright.cost.price import price
from shardwright.cost.stages import pipelines
from shardwright.plan.deployment import resolve
from shardwright.search.candidates import with_copies
from shardwright.search.engine import engine_of
from shardwright.search.illegal import Illegal
from shardwright.search.table import legal_copies

GPUS = (8, 16, 64, 256, 1024, 2048, 4096, 8192, 16384)
RUNS = 3
MODEL, DEVICE = "Qwen3-30B-A3B", "H200-SXM-141GB"
SEQUENCES = 2
"""In flight for each GPU, so that the largest search has a layout for each number of copies."""

INNER_GPUS = 2048


def scaling_row(gpus: int) -> tuple[str, ...]:
    """One row of the table."""
    asked = ["--model", MODEL, "--gpu", DEVICE, "--gpus", str(gpus), "--batch", str(SEQUENCES * gpus)]
    found = [
        run([sys.executable, "-m", "shardwright.cli.main", "plan", *asked, "--json"]) for _ in range(RUNS)
    ]
    cpu_s = statistics.median(used.cpu_s for used in found)
    candidates = json.loads(found[0].output)["num_priced"]
    peak = max(used.peak_bytes for used in found)
    return (
        f"{gpus:,}",
        f"{cpu_s:.2f}",
        f"{candidates:,}",
        f"{candidates / cpu_s:,.0f}",
        f"{peak / 1e6:,.0f}",
    )


def inner_loop() -> tuple[int, float]:
    """(candidates, CPU seconds) of pricing every legal layout of INNER_GPUS, each by itself."""
    cluster = {"gpu": DEVICE, "nodes": INNER_GPUS // 8}
    deployment = resolve({"model": MODEL, "cluster": cluster, "workload": {"batch": SEQUENCES * INNER_GPUS}})
    model, engine, work = deployment.model, engine_of(deployment), deployment.workload
    batches = [
        with_copies(single, max_gpus=INNER_GPUS, max_dp=work.batch, cluster=deployment.cluster)
        for single in legal_copies(deployment, engine, max_gpus=INNER_GPUS, illegal=Illegal())
    ]
    start = time.process_time()
    for batch in batches:
        price(model, engine, deployment.cluster, work, batch, pipelines(model, engine.stages, batch.pp))
    return sum(map(len, batches)), time.process_time() - start


def main() -> None:
    """Print the table, and the rate of the inner loop."""
    print(f"{MODEL} on {DEVICE}, {SEQUENCES} sequences a GPU; CPU s: user + system, median of {RUNS}\n")
    heads = ("GPUs", "CPU s", "candidates", "candidates/CPU s", "peak memory, MB")
    print("| " + " | ".join(heads) + " |")
    print("|" + "---:|" * len(heads))
    for gpus in GPUS:
        print("| " + " | ".join(scaling_row(gpus)) + " |", flush=True)
    candidates, cpu_s = inner_loop()
    print(
        f"\ninner loop, {INNER_GPUS:,} GPUs: {candidates:,} candidates priced each by itself in {cpu_s:.2f} "
        f"CPU s: {candidates / cpu_s:,.0f} a second on one core"
    )


if __name__ == "__main__":
    main()
