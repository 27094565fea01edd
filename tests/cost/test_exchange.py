"""DeepEP: rows by link counted one by one, and its makers' own figures."""

import csv
from pathlib import Path

import numpy as np
import pytest

from shardwright.cluster.catalog import build_cluster
from shardwright.cost.constants import constants
from shardwright.cost.exchange import ExchangeForm, exchange_form_seconds, leaving
from shardwright.cost.price import wires_of
from shardwright.cost.wires import exchange_seconds
from shardwright.engine.sglang import SGLANG_0_5_23 as SGLANG
from shardwright.layout.notation import parse_layout
from shardwright.model.catalog import find_model
from shardwright.steps.exchange import sent_to_experts
from shardwright.steps.forms import Forms
from shardwright.steps.load import routed_load
from shardwright.steps.operation import Exchange, ExchangeKernel
from shardwright.steps.spread import Spread
from shardwright.workload.routing import RoutingProfile

PUBLISHED = Path(__file__).parent / "measured" / "deepep.csv"
HIDDEN, LOCAL = 7168, 8
H800, _ = build_cluster(gpu="H800", nodes=32)
DEEPSEEK_V3 = find_model("deepseek-ai/DeepSeek-V3")


def exchange(kernel: ExchangeKernel, gpus: int, tokens: int, *, combines: bool, spread: Spread) -> Exchange:
    row_bytes = HIDDEN * (2 if combines else 1 + 4 / 128)
    rows = float(spread.parts_hit(gpus)) if kernel == "normal" else spread.top_k
    return Exchange(
        name="",
        axis="exchange",
        num_ranks=gpus,
        payload_bytes=tokens * rows * row_bytes,
        remote=1 - 1 / gpus,
        row_bytes=row_bytes,
        kernel=kernel,
        combines=combines,
        spread=spread,
    )


def published(kernel: str) -> list[dict[str, str]]:
    with PUBLISHED.open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if f"deepep_{kernel}" in row["op"]]


def test_low_latency_kernels_meet_the_published_table() -> None:
    """128 tokens, hidden 7168, top-8, H800 with 400 Gb/s: EP 8 to 256, both ways, from three constants."""
    spread, law = Spread(num_experts=256, top_k=8), constants().exchange["low_latency"]
    rows = published("ll")
    assert len(rows) == 12
    for row in rows:
        sent = exchange("low_latency", int(row["gpus"]), 128, combines="combine" in row["op"], spread=spread)
        ours_us = float(exchange_form_seconds(leaving(sent, float(row["nodes"])), H800, law)) * 1e6
        assert ours_us == pytest.approx(float(row["time_us"]), rel=0.08), row


def test_normal_kernels_meet_the_published_bandwidths() -> None:
    """4,096 tokens, up to four nodes a token: 153 and 158 GB/s in a node, 43 to 58 over nodes, rows that stay
    included. The makers time the kernel alone, without the hop that tells each rank what it will receive."""
    law = constants().exchange["normal"].model_copy(update={"hop": 0.0})
    rows = published("normal")
    assert len(rows) == 8
    for row in rows:
        gpus, nodes = int(row["gpus"]), int(row["nodes"])
        limit = {"groups": 8, "top_groups": 4} if nodes == 8 else {}
        spread = Spread(num_experts=256, top_k=8, **limit)
        sent = exchange("normal", gpus, 4096, combines="combine" in row["op"], spread=spread)
        seconds = float(exchange_form_seconds(leaving(sent, float(nodes)), H800, law))
        logical = 4096 * sent.row_bytes * float(spread.parts_hit(gpus if nodes == 1 else nodes))
        assert logical / seconds / 1e9 == pytest.approx(float(row["logical_gb_s"]), rel=0.06), row


@pytest.mark.parametrize("nodes", [1, 2, 4])
@pytest.mark.parametrize("kernel", ["normal", "low_latency"])
@pytest.mark.parametrize("groups", [(1, 1), (8, 4)])
def test_rows_by_link_are_those_that_are_counted(
    kernel: ExchangeKernel, nodes: int, groups: tuple[int, int]
) -> None:
    """Every token of every rank, each of its rows over its links, one by one: mean of a rank."""
    spread = Spread(num_experts=64, top_k=6, groups=groups[0], top_groups=groups[1])
    ranks, tokens, random = nodes * LOCAL, 400, np.random.default_rng(3)
    group_of = np.arange(64) * groups[0] // 64
    far = near = sent = 0
    for source in range(ranks):
        home, place = divmod(source, LOCAL)
        for _ in range(tokens):
            allowed = np.isin(group_of, random.permutation(groups[0])[: groups[1]])
            experts = random.permutation(np.flatnonzero(allowed))[: spread.top_k]
            holders = [int(expert) * ranks // 64 for expert in experts]
            if kernel == "normal":
                holders = sorted(set(holders))
                far += len({holder // LOCAL for holder in holders} - {home})
                near += sum(holder % LOCAL != place for holder in holders)
            else:
                far += sum(holder // LOCAL != home for holder in holders)
                near += sum(holder // LOCAL == home and holder != source for holder in holders)
            sent += len(holders)
    row = exchange(kernel, ranks, tokens, combines=False, spread=spread)
    links = leaving(row, float(nodes))
    rows = tokens * ranks / row.row_bytes / tokens / ranks
    assert float(np.asarray(links.sent_bytes)) * rows * ranks == pytest.approx(sent, rel=0.02)
    assert float(np.asarray(links.near_bytes)) * rows * ranks == pytest.approx(near, rel=0.02)
    assert float(np.asarray(links.far_bytes)) * rows * ranks == pytest.approx(far, rel=0.02, abs=1e-9)


def dispatch(layout: str, phase: str, *, combines: bool, mode: str = "deepep", tokens: int = 128) -> Exchange:
    degrees = parse_layout(layout)
    load = routed_load(
        phase,  # type: ignore[arg-type]
        model=DEEPSEEK_V3,
        degrees=degrees,
        sequences=tokens,
        query_tokens=1,
        context=1024,
        routing=RoutingProfile(),
    )
    assert DEEPSEEK_V3.experts is not None
    forms = Forms(exchange=mode)  # type: ignore[arg-type]
    return sent_to_experts(DEEPSEEK_V3, DEEPSEEK_V3.experts, degrees, load, forms, combines=combines)


def test_deepep_takes_its_kernels_by_the_phase_and_fp8_rows_to_the_experts() -> None:
    there, back = (dispatch("dp16/ep16", "decode", combines=way) for way in (False, True))
    assert (there.kernel, back.kernel) == ("low_latency", "low_latency")
    assert (there.row_bytes, back.row_bytes) == (HIDDEN + HIDDEN / 128 * 4, 2 * HIDDEN)
    assert dispatch("dp16/ep16", "prefill", combines=False).kernel == "normal"
    plain = dispatch("dp16/ep16", "prefill", combines=False, mode="all_to_all")
    assert (plain.kernel, plain.row_bytes) == ("all_to_all", 2 * HIDDEN)
    hidden_rows = float(np.asarray(there.payload_bytes)) / there.row_bytes
    assert float(np.asarray(plain.payload_bytes)) / plain.row_bytes == pytest.approx(hidden_rows)
    merged = dispatch("dp16/ep16", "prefill", combines=False)
    ratio = float(np.asarray(merged.payload_bytes)) / merged.row_bytes / hidden_rows
    assert ratio == pytest.approx(5.339 / 8, rel=1e-3)


def test_node_limited_dispatch_beats_an_all_to_all_of_every_row() -> None:
    """Prefill of DeepSeek-V3 over four H100 nodes, as SGLang runs it: a third of the bytes over the NICs."""
    site, _ = build_cluster(gpu="H100", nodes=4)
    layout = parse_layout("dp32/ep32")
    on = wires_of(SGLANG, site, layout)
    deepep, plain = (
        float(exchange_seconds(dispatch("dp32/ep32", "prefill", combines=False, mode=mode, tokens=8192), on))
        for mode in ("deepep", "all_to_all")
    )
    assert 3 < plain / deepep < 6


def test_a_device_without_a_table_takes_the_published_law() -> None:
    for gpu, same in (("H800", False), ("H100", True)):
        site, _ = build_cluster(gpu=gpu, nodes=4)
        on = wires_of(SGLANG, site, parse_layout("dp32/ep32"))
        law: ExchangeForm = on.exchange_law(dispatch("dp32/ep32", "decode", combines=True))
        assert (law != constants().exchange["low_latency"]) == same
