"""The closed form of what clients see against the same load played step by step, over a grid."""

from itertools import product

import numpy as np
import pytest

from shardwright.plan.deployment import Deployment, resolve
from shardwright.search.search import ranked
from shardwright.search.serve import simulate_layout
from shardwright.search.timing import time_layout
from shardwright.serving.requests import Lengths
from shardwright.serving.simulation import Load
from shardwright.workload.workload import REQUESTS_A_CLIENT

MODELS = ("Qwen3-30B-A3B", "Llama-3.3-70B-Instruct", "DeepSeek-V3", "Qwen3-8B", "gpt-oss-120b")
CLUSTERS = (("H100-SXM-80GB", 1), ("H200-SXM-141GB", 2), ("B200-SXM-180GB", 1), ("A100-SXM-80GB", 1))
LENGTHS = ((1024, 512), (8192, 256), (256, 2048), (3000, 20))
Lengthy = tuple[tuple[int, int], ...]
BATCHES = (4, 32, 128, 512)
LAYOUTS = 2
CASES = 48


def deployments(engine: str, spread: float, lengths: Lengthy) -> list[Deployment]:
    """CASES of the grid, by chance."""
    cases = list(product(MODELS, CLUSTERS, lengths, BATCHES))
    chosen = np.random.default_rng(0).choice(len(cases), CASES, replace=False)
    return [
        resolve(
            {
                "model": model,
                "cluster": {"gpu": gpu, "nodes": nodes, "gpus_per_node": 8},
                "workload": {
                    "batch": batch,
                    "input_tokens": prompt,
                    "output_tokens": answer,
                    "spread": spread,
                },
                "engine": engine,
            }
        )
        for model, (gpu, nodes), (prompt, answer), batch in (cases[index] for index in chosen)
    ]


def distances(engine: str, spread: float, lengths: Lengthy = LENGTHS) -> np.ndarray:
    """(rows, 3): relative distances of TPOT, TTFT, throughput, of the best layout and of some by chance."""
    draw, rows = np.random.default_rng(1), []
    for deployment in deployments(engine, spread, lengths):
        table, ranking = ranked(deployment)
        if not len(ranking.order):
            continue
        others = draw.choice(ranking.order, LAYOUTS - 1)
        for row in {int(row) for row in (ranking.order[0], *others)}:
            layout, work = table.layout(row), deployment.workload
            load = Load(
                kind="closed",
                concurrency=work.batch,
                num_requests=work.batch * REQUESTS_A_CLIENT,
                input_tokens=Lengths.around(work.input_tokens, spread),
                output_tokens=Lengths.around(work.output_tokens, spread),
            )
            played = simulate_layout(deployment, layout, load).outcome
            if played.restarted or played.tpot_s is None:
                continue  # the KV cache is full: no closed form
            served = time_layout(deployment, layout).served
            found = np.array([served.tpot_s, served.ttft_s, served.throughput_tokens_per_s], dtype=float)
            wanted = played.tpot_s.mean, played.ttft_s.mean, played.output_tokens_per_s
            rows.append(np.abs(found / wanted - 1))
    return np.array(rows)


ENGINES = ("vllm", "sglang", "trtllm")


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_lengths(engine: str) -> None:
    """Measured on the whole grid: medians 0.2, 0.9, 0.2 %; nine in ten within 4, 12, 3 %."""
    found = distances(engine, 0.0)
    assert len(found) > CASES
    assert (np.median(found, axis=0) < (0.01, 0.04, 0.01)).all()
    assert (np.quantile(found, 0.9, axis=0) < (0.08, 0.25, 0.06)).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_lengths_that_vary(engine: str) -> None:
    """Measured on the whole grid: medians 2.3, 6.7, 2.1 %; nine in ten within 33, 40, 15 %, of SGLang's
    46, 35, 18 %. Short answers to long prompts are left out here: medians of theirs 20, 24, 3 %; of 1,024 in
    and 512 out 1.1, 3.9, 1.5 %.
    """
    found = distances(engine, 0.1, lengths=LENGTHS[:3])
    assert len(found) > CASES
    assert (np.median(found, axis=0) < (0.04, 0.08, 0.04)).all()
    assert (np.quantile(found, 0.9, axis=0) < (0.2, 0.3, 0.18)).all()
