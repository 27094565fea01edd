"""Simulated loads: 1,000 configurations of a model, and 10,000 requests on 16 GPUs. Prints; asserts nothing.

Layouts of up to 16 GPUs, each asked by closed loops of 1 to 256 clients with ten requests a client. The
tables of a layout are built once and serve all of its loads. numba compiles before a simulation is timed.
"""

import time
from collections.abc import Iterator
from itertools import islice, product

import numpy as np

from shardwright.cluster.catalog import build_cluster
from shardwright.cost.host import Host
from shardwright.engine.catalog import find_engine
from shardwright.engine.engine import Engine
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.model.catalog import find_model
from shardwright.serving.outcome import Outcome, outcome_of
from shardwright.serving.requests import Lengths, closed_loop, open_loop
from shardwright.serving.server import Server, build_server
from shardwright.serving.simulate import simulate

MODEL, DEVICE = "Qwen3-30B-A3B", "H200-SXM-141GB"
PROMPT, ANSWER = Lengths.exactly(1024), Lengths.exactly(256)
CONCURRENCIES = tuple(np.unique(np.round(np.geomspace(1, 256, 41)).astype(int)).tolist())
NUM_LAYOUTS = 30
NUM_REQUESTS, RATE_PER_S, OPEN_LAYOUT = 10_000, 100.0, "tp2.dp4/ep8.x2"


def layouts() -> Iterator[Layout]:
    """Folded layouts of 16 GPUs and fewer, experts spread over all ranks of a stage."""
    for gpus, pp, copies, tp in product((16, 8, 4), (1, 2), (1, 2, 4), (1, 2, 4)):
        ranks = gpus // (pp * copies)
        if ranks % tp == 0 and ranks >= tp:
            yield Layout(tp=tp, dp=ranks // tp, pp=pp, ep=ranks, copies=copies)


def server_of(layout: Layout, engine: Engine) -> Server:
    """Its tables."""
    model = find_model(MODEL)
    cluster = build_cluster(gpu=DEVICE, nodes=2, gpus_per_node=8)[0]
    return build_server(
        model,
        engine,
        cluster,
        layout,
        engine.stages(model.num_layers, layout.pp),
        host=Host(),
        length=PROMPT.high + ANSWER.high,
        longest=PROMPT.high + ANSWER.high,
    )


def many_configurations(engine: Engine) -> None:
    """Tables and loads apart."""
    start = time.perf_counter()
    servers = [server_of(layout, engine) for layout in islice(layouts(), NUM_LAYOUTS)]
    tables_s = time.perf_counter() - start
    loads = [closed_loop(clients, PROMPT, ANSWER) for clients in CONCURRENCIES]
    simulate(servers[0], loads[0])
    start = time.perf_counter()
    served = [simulate(server, load) for server in servers for load in loads]
    simulated_s = time.perf_counter() - start
    start = time.perf_counter()
    for copies in served:
        outcome_of(copies)
    told_s = time.perf_counter() - start
    # Copies that are asked alike are played once.
    played = {id(copy): copy for copies in served for copy in copies}.values()
    requests, steps = sum(len(copy.length) for copy in played), sum(copy.steps for copy in played)
    print(
        f"{len(servers)} layouts x {len(loads)} loads = {len(served):,} configurations of {MODEL} on {DEVICE}"
    )
    print(f"  tables    {tables_s:6.2f} s: {tables_s / len(servers) * 1e3:.0f} ms a layout")
    print(f"  simulated {simulated_s:6.2f} s: {requests:,} requests in {steps:,} steps")
    each_ms, step_ns = simulated_s / len(served) * 1e3, simulated_s / steps * 1e9
    print(f"            {each_ms:.2f} ms a configuration, {step_ns:.0f} ns a step")
    print(f"  figures   {told_s:6.2f} s")


def open_load(engine: Engine) -> None:
    """Poisson arrivals on 16 GPUs."""
    server = server_of(parse_layout(OPEN_LAYOUT), engine)
    prompts, answers = Lengths(low=512, high=1024), Lengths(low=64, high=256)
    requests = open_loop(RATE_PER_S, prompts, answers, num_requests=NUM_REQUESTS)
    start = time.perf_counter()
    outcome: Outcome = outcome_of(simulate(server, requests))
    seconds = time.perf_counter() - start
    print(
        f"\n{NUM_REQUESTS:,} requests at {RATE_PER_S:.0f} a second on {OPEN_LAYOUT}, 16 GPUs: {seconds:.2f} s"
    )
    print(
        f"  {outcome.steps:,} steps, {outcome.duration_s:.0f} s simulated; "
        f"TTFT p50 {outcome.ttft_s.p50 * 1e3:.0f} ms, p99 {outcome.ttft_s.p99 * 1e3:.0f} ms"
    )


def main() -> None:
    """Print both."""
    engine = find_engine("vllm")
    many_configurations(engine)
    open_load(engine)


if __name__ == "__main__":
    main()
