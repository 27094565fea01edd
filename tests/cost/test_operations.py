"""Operator and collective forms against measured rows, and their limits."""

import numpy as np
import pytest

from shardwright.cost.collectives import (
    Wires,
    all_reduce_seconds,
    exchange_seconds,
    gather_seconds,
    transfer_seconds,
)
from shardwright.cost.compute import attention_seconds
from shardwright.cost.constants import constants
from shardwright.cost.gemm import gemm_seconds
from shardwright.cost.law import choose, pnorm
from shardwright.cost.profile import read_profile
from shardwright.steps.operation import AllReduce, Attention, Exchange, Gather, Gemm, Transfer
from tests.samples import cluster

H100 = cluster().device
LAW = constants()
PROFILE = read_profile("H100-SXM-80GB")
EXPERTS = choose(PROFILE.experts, "vllm", ("bf16",))
GEMM = choose(PROFILE.gemm, "vllm", ("bf16",))
# Rows of aiconfigurator-core 0.12.0 (H100, vLLM 0.24.0, bf16; NCCL 2.29.2).


def test_gemm_row() -> None:
    row = Gemm(name="", m=16, n=4096, k=4096, weight_dtype="bf16", weight_bytes=2)
    assert float(gemm_seconds(row, H100, GEMM)) == pytest.approx(15.5e-6, rel=0.05)


def test_decode_attention_row() -> None:
    row = Attention(
        name="",
        phase="decode",
        sequences=64,
        query_tokens=1,
        context=4096,
        heads=32,
        kv_heads=4,
        qk_dim=128,
        v_dim=128,
        row_bytes=2 * 4 * 128 * 2,
    )
    assert float(attention_seconds(row, H100, LAW)) == pytest.approx(187e-6, rel=0.03)


def test_all_reduce_row() -> None:
    row = AllReduce(name="", axis="tp", num_ranks=8, payload_bytes=2 * 16777216)
    assert float(all_reduce_seconds(row, wires(1))) == pytest.approx(199.8e-6, rel=0.12)


def wires(nodes: float) -> Wires:
    site = cluster(nodes=4)
    return Wires(
        cluster=site,
        profile=PROFILE,
        kernels="vllm",
        law=LAW.collective_for(site.device.name),
        nodes=dict.fromkeys(("tp", "dp", "ep", "etp", "exchange", "pp"), nodes),
    )


def test_a_group_of_one_costs_nothing() -> None:
    on = wires(1)
    assert float(all_reduce_seconds(AllReduce(name="", axis="tp", num_ranks=1, payload_bytes=1e9), on)) == 0
    assert float(gather_seconds(Gather(name="", axis="tp", num_ranks=1, payload_bytes=1e9), on)) == 0
    alone = Exchange(name="", axis="exchange", num_ranks=1, payload_bytes=1e9, remote=0.0)
    assert float(exchange_seconds(alone, on)) == 0
    stay = Transfer(name="", axis="pp", num_ranks=1, payload_bytes=1e9, sends=True)
    assert float(transfer_seconds(stay, on)) == 0


def test_a_large_sum_over_nodes_is_bound_by_the_nic() -> None:
    """16 ranks on 2 nodes, a ring: 2 x 15/16 of 64 MB through 8 NICs of 50 GB/s and links of 450 GB/s."""
    payload = 64e6
    row = AllReduce(name="", axis="tp", num_ranks=16, payload_bytes=payload)
    one, two = float(all_reduce_seconds(row, wires(1))), float(all_reduce_seconds(row, wires(2)))
    assert two > one
    wire = 2 * 15 / 16 * payload / 8 / 50e9 / LAW.collective_for("H100-SXM-80GB").e
    assert wire < two < 1.2 * wire


def test_a_small_sum_over_many_nodes_takes_the_tree() -> None:
    """64 ranks on 8 nodes: 2 log2(8) = 6 steps over the network, where the ring has 14."""
    on = wires(8)
    row = AllReduce(name="", axis="tp", num_ranks=64, payload_bytes=8192)
    law, latency = on.law, on.cluster.scale_out.latency_s
    least = (law.a + law.b * 8) * 1e-6 + 6 * latency
    assert least < float(all_reduce_seconds(row, on)) < 1.05 * least


def test_a_sum_over_nodes_of_one_gpu_has_no_links_inside() -> None:
    """4 ranks on 4 nodes of one: a ring of 6 steps, 2 x 3/4 of the bytes over each NIC."""
    on, payload = wires(4), 64e6
    row = AllReduce(name="", axis="tp", num_ranks=4, payload_bytes=payload)
    wire = 2 * 3 / 4 * payload / 50e9 / on.law.e
    steps = (on.law.a + on.law.b) * 1e-6 + 6 * on.cluster.scale_out.latency_s
    assert float(all_reduce_seconds(row, on)) == pytest.approx(steps + wire, rel=1e-12)


def test_the_receiver_is_not_priced_twice() -> None:
    receive = Transfer(name="", axis="pp", num_ranks=2, payload_bytes=1e6, sends=False)
    assert float(transfer_seconds(receive, wires(2))) == 0


def test_pnorm_is_at_least_the_larger_and_at_most_the_sum() -> None:
    a, b = np.array([1.0, 5.0, 0.0]), np.array([2.0, 5.0, 0.0])
    joined = np.asarray(pnorm(4.4, a, b))
    assert (joined >= np.maximum(a, b)).all() and (joined[:2] <= (a + b)[:2]).all()
