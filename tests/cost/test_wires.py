"""Communication over groups that span nodes: limits, levels, and the network between them."""

from dataclasses import replace

import numpy as np
import pytest

from shardwright.cluster.catalog import build_cluster
from shardwright.cost.collectives import collective_seconds
from shardwright.cost.profile import read_profile
from shardwright.cost.wires import (
    Wires,
    all_reduce_seconds,
    exchange_seconds,
    gather_seconds,
    start_seconds,
    transfer_seconds,
)
from shardwright.engine.catalog import ENGINES
from shardwright.steps.operation import AllReduce, Communication, Exchange, Gather, Transfer
from tests.samples import cluster

PROFILE = read_profile("H100-SXM-80GB")
MIB = 2**20


def wires(nodes: float, oversubscription: float = 1.0) -> Wires:
    site = cluster(nodes=4).model_copy(update={"oversubscription": oversubscription})
    return Wires(
        cluster=site,
        profile=PROFILE,
        kernels="vllm",
        own_sums=None,
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
    """16 ranks on 2 nodes, a ring: 2 x 15/16 of 512 MB through 8 NICs of 50 GB/s and links of 450 GB/s."""
    payload = 512e6
    row = AllReduce(name="", axis="tp", num_ranks=16, payload_bytes=payload)
    one, two = float(all_reduce_seconds(row, wires(1))), float(all_reduce_seconds(row, wires(2)))
    assert two > one
    wire = 2 * 15 / 16 * payload / 8 / 50e9 / wires(1).library["all_reduce"].e
    assert wire < two < 1.2 * wire


def test_a_small_sum_over_many_nodes_takes_the_tree() -> None:
    """64 ranks on 8 nodes: 2 log2(8) = 6 steps over the network, where the ring has 14."""
    on = wires(8)
    row = AllReduce(name="", axis="tp", num_ranks=64, payload_bytes=8192)
    law, latency = on.library["all_reduce"], on.cluster.scale_out.latency_s
    least = (law.a + law.b * 8) * 1e-6 + 6 * latency
    assert least < float(all_reduce_seconds(row, on)) < 1.05 * least


def test_a_sum_over_nodes_of_one_gpu_has_no_links_inside() -> None:
    """4 ranks on 4 nodes of one: a ring of 6 steps, 2 x 3/4 of the bytes over each NIC."""
    on, payload = wires(4), 64e6
    row = AllReduce(name="", axis="tp", num_ranks=4, payload_bytes=payload)
    law = on.library["all_reduce"]
    wire = 2 * 3 / 4 * payload / 50e9 / law.e
    steps = (law.a + law.b) * 1e-6 + 6 * on.cluster.scale_out.latency_s
    assert float(all_reduce_seconds(row, on)) == pytest.approx(steps + wire, rel=1e-12)


def test_the_receiver_is_not_priced_twice() -> None:
    receive = Transfer(name="", axis="pp", num_ranks=2, payload_bytes=1e6, sends=False)
    assert float(transfer_seconds(receive, wires(2))) == 0


@pytest.mark.parametrize(
    ("engine", "ranks", "size", "own"),
    [
        ("vllm", 2, 64 * MIB, True),
        ("vllm", 2, 65 * MIB, False),
        ("vllm", 4, 32 * MIB, True),
        ("vllm", 4, 33 * MIB, False),
        ("vllm", 8, 64 * MIB, True),
        ("vllm", 3, 1 * MIB, False),
        ("sglang", 8, 16 * MIB, True),
        ("sglang", 8, 17 * MIB, False),
        ("trtllm", 8, 512 * MIB, True),
        ("shardwright", 8, 1 * MIB, False),
    ],
)
def test_an_engine_sums_by_its_own_kernels_up_to_its_switch_point(
    engine: str, ranks: int, size: int, own: bool
) -> None:
    """vLLM's, SGLang's and TensorRT-LLM's limits on Hopper, as their sources have them."""
    record = ENGINES[engine]
    on = replace(wires(1), kernels=record.kernels, own_sums=record.own_sums)
    law = on.own_sum if own else on.library["all_reduce"]
    assert law is not None
    row = AllReduce(name="", axis="tp", num_ranks=ranks, payload_bytes=size)
    expected = collective_seconds(law, on.cluster.scale_up, ranks, size)
    assert float(all_reduce_seconds(row, on)) == pytest.approx(float(expected), rel=1e-12)


def test_small_sums_of_an_engine_beat_the_library_and_large_ones_are_its() -> None:
    sizes = 2.0 ** np.arange(10, 30)
    row = AllReduce(name="", axis="tp", num_ranks=np.full(len(sizes), 8), payload_bytes=sizes)
    vllm = replace(wires(1), own_sums=ENGINES["vllm"].own_sums)
    own, library = np.asarray(all_reduce_seconds(row, vllm)), np.asarray(all_reduce_seconds(row, wires(1)))
    assert (own[sizes <= MIB] < 0.75 * library[sizes <= MIB]).all()
    assert (own[sizes > 64 * MIB] == library[sizes > 64 * MIB]).all()


def test_own_kernels_stay_in_a_node_of_a_rack() -> None:
    """SGLang over 8 GPUs of GB300 trays of 4: 28 us measured (aiconfigurator-core 0.12.0), not the 4 of a
    tray."""
    rack, _ = build_cluster(gpu="GB300", nodes=18)
    sglang = ENGINES["sglang"]
    on = Wires(
        cluster=rack,
        profile=read_profile("GB300-279GB"),
        kernels="sglang",
        own_sums=sglang.own_sums,
        nodes={"tp": 1},
    )
    tray, trays = (AllReduce(name="", axis="tp", num_ranks=n, payload_bytes=8192) for n in (4, 8))
    assert float(all_reduce_seconds(tray, on)) == pytest.approx(3.8e-6, rel=0.1)
    assert float(all_reduce_seconds(trays, on)) == pytest.approx(28e-6, rel=0.15)


ROWS: tuple[Communication, ...] = (
    AllReduce(name="", axis="tp", num_ranks=16, payload_bytes=256e6),
    Gather(name="", axis="dp", num_ranks=16, payload_bytes=256e6),
    Exchange(name="", axis="exchange", num_ranks=16, payload_bytes=64e6, remote=15 / 16),
    Transfer(name="", axis="pp", num_ranks=2, payload_bytes=64e6, sends=True),
)


@pytest.mark.parametrize("row", ROWS)
def test_an_oversubscribed_network_is_slower_by_the_bytes_that_cross_it(row: Communication) -> None:
    price = {
        AllReduce: all_reduce_seconds,
        Gather: gather_seconds,
        Exchange: exchange_seconds,
        Transfer: transfer_seconds,
    }[type(row)]
    inside = [float(price(row, wires(1, ratio))) for ratio in (1.0, 4.0)]  # type: ignore[operator]
    across = [float(price(row, wires(2, ratio))) for ratio in (1.0, 4.0)]  # type: ignore[operator]
    assert inside[0] == inside[1]
    assert 2 < across[1] / across[0] <= 4


@pytest.mark.parametrize("row", ROWS[:3])
def test_an_operation_takes_at_least_its_start(row: Communication) -> None:
    tiny = replace(row, payload_bytes=1.0, num_ranks=8)
    price = {AllReduce: all_reduce_seconds, Gather: gather_seconds, Exchange: exchange_seconds}[type(row)]
    start = float(start_seconds(tiny, wires(1)))
    assert start == pytest.approx(float(price(tiny, wires(1))), rel=0.3)  # type: ignore[operator]
