"""A scale-up domain over nodes prices as one machine that holds its GPUs."""

from dataclasses import replace

import numpy as np
import pytest

from shardwright.cluster.catalog import build_cluster
from shardwright.cluster.cluster import Cluster
from shardwright.cost.price import price
from shardwright.engine.catalog import ENGINES
from shardwright.layout.notation import parse_layout
from tests.cost.test_price import WORKLOAD
from tests.samples import REFERENCE

ENGINE = replace(ENGINES["vllm"], own_sums=None)
"""vLLM's own sums stay on a node: they tell a tray from a machine."""

LAYOUTS = ("tp4/ep4.x4", "tp8.dp2/ep16", "dp16/ep16", "tp2.dp4.pp2/ep8", "tp16/etp16")


def times(cluster: Cluster, layout: str) -> list[float]:
    degrees = parse_layout(layout)
    layers = (REFERENCE.num_layers // degrees.pp,) * degrees.pp
    cost = price(REFERENCE, ENGINE, cluster, WORKLOAD, degrees, layers)
    return [float(np.max(value)) for value in (cost.served.tpot_s, cost.decode.communication_fraction)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_four_trays_of_a_rack_are_one_machine_of_sixteen(layout: str) -> None:
    rack, _ = build_cluster(gpu="GB200", nodes=4)
    machine, _ = build_cluster(gpu="GB200", nodes=1, gpus_per_node=16)
    assert times(rack, layout) == times(machine, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_trays_without_the_rack_are_no_faster(layout: str) -> None:
    rack, _ = build_cluster(gpu="GB200", nodes=4)
    apart, _ = build_cluster(gpu="GB200", nodes=4, scale_up_gpus=4)
    spans_trays = parse_layout(layout).gpus_per_copy > 4
    assert (times(apart, layout)[0] > times(rack, layout)[0]) == spans_trays
