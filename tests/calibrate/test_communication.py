"""Tables of collectives and of DeepEP as laws that the test knows would have made them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from shardwright.calibrate.collectives import collective_kind, collective_rows
from shardwright.calibrate.exchange import exchange_kind, exchange_rows
from shardwright.calibrate.fit import fit
from shardwright.calibrate.rows import Rows
from shardwright.calibrate.score import scored
from shardwright.cluster.catalog import build_cluster, find_device, find_link
from shardwright.cost.collectives import CollectiveLaw, collective_form_seconds, collective_seconds
from shardwright.cost.exchange import ExchangeForm, exchange_form_seconds, leaving
from shardwright.steps.operation import Exchange
from shardwright.steps.spread import Spread
from tests.samples import EXACT

H100 = find_device("H100-SXM-80GB")
LINK = find_link("NVLink4")
SIZES = 2 ** np.arange(9, 28)
NO_LAW = {
    "kernels": "vllm",
    "version": "",
    "kernel": "",
    "format": "bf16",
    "rows": 0,
    "scale": "bytes",
    "bands": (EXACT,),
}


def write(folder: Path, name: str, columns: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table({key: np.asarray(value) for key, value in columns.items()}), folder / name)


def write_nccl(
    root: Path,
    folder: str = "2.29.2",
    version: str = "2.29.2",
    *,
    slow_ranks: int = 0,
    hiccup: int | None = None,
    noise: float = 0.0,
) -> Path:
    """nccl_perf of known laws. slow_ranks: a group ten times slower. hiccup: a row that took 1 ms."""
    ops = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")
    names = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
    rows = []
    random = np.random.default_rng(5)
    for op, collective in zip(ops, names, strict=True):
        law = CollectiveLaw(**NO_LAW, collective=collective, library="nccl", a=3, b=1.5, s=3, e=0.8)
        for ranks in (2, 4, 8):
            for elements in SIZES:
                seconds = float(np.asarray(collective_form_seconds(law, LINK, ranks, float(2 * elements))))
                seconds *= 30 if ranks == slow_ranks else float(np.exp(random.normal(0, noise)))
                rows.append((version, op, "half", ranks, elements, seconds * 1e3))
                rows.append((version, op, "int8", ranks, elements, seconds * 5e3))
    if hiccup is not None:
        rows[hiccup] = (*rows[hiccup][:5], 1.0)
    keys = ("version", "op_name", "nccl_dtype", "num_gpus", "message_size", "latency")
    write(
        root / "comm" / "nccl" / folder,
        "nccl_perf.parquet",
        dict(zip(keys, zip(*rows, strict=True), strict=True)),
    )
    return root


def found(root: Path) -> dict[str, Rows[Any]]:
    return {rows.kernel: rows for rows in collective_rows(root, H100)}


def test_the_constants_of_known_collectives_are_found(tmp_path: Path) -> None:
    """message_size counts elements; 8-bit rows are left out and counted."""
    rows = found(write_nccl(tmp_path))
    assert list(rows) == ["NCCL all_reduce", "NCCL all_gather", "NCCL reduce_scatter", "NCCL alltoall"]
    for each in rows.values():
        assert each.excluded == {"8-bit integers": 3 * len(SIZES)}
        law = fit(collective_kind(each), each, H100)
        assert (law.a, law.b, law.s, law.e) == pytest.approx((3, 1.5, 3, 0.8), rel=0.02)


def test_all_runs_of_the_newest_version_count_and_a_hiccup_does_not(tmp_path: Path) -> None:
    write_nccl(tmp_path, "2.27.3", "2.29.2")
    write_nccl(tmp_path, "again", "2.29.2")
    write_nccl(tmp_path, "2.23", "2.23.4", slow_ranks=8)
    rows = found(write_nccl(tmp_path, hiccup=0))["NCCL all_reduce"]
    assert rows.version == "2.29.2" and len(rows) == 3 * len(SIZES)
    assert rows.seconds.max() < 1.5e-3 and rows.seconds.min() == pytest.approx(rows.seconds[0])
    assert fit(collective_kind(rows), rows, H100).e == pytest.approx(0.8, rel=0.02)


def test_gpus_that_did_not_talk_over_their_link_are_left_out(tmp_path: Path) -> None:
    rows = found(write_nccl(tmp_path, slow_ranks=8))["NCCL all_reduce"]
    assert len(rows) == 2 * len(SIZES)
    assert [count for reason, count in rows.excluded.items() if "link's rate" in reason] == [len(SIZES)]


def test_errors_of_few_sizes_are_those_of_sizes_held_out(tmp_path: Path) -> None:
    """3 % of noise in every row: no more and not much less is what a law can miss."""
    rows = found(write_nccl(tmp_path, noise=0.03))["NCCL all_gather"]
    law, score = scored(collective_kind(rows), rows, H100)
    assert score.rows == len(rows) == law.rows
    assert 0.01 < score.median < 0.035
    assert 0.8 <= score.covered <= 1
    assert law.bands and law.residual is not None


def test_an_engine_s_rows_end_at_its_switch_point(tmp_path: Path) -> None:
    """SGLang leaves sums above 16 MiB to NCCL; rows that were launched one by one are no graph's."""
    rows = []
    for source in ("SGLang_CustomAllReduce_eager", "SGLang_CustomAllReduce_graph"):
        rows += [(source, "bfloat16", 8, elements, 0.01 + elements * 5e-9) for elements in SIZES]
    keys = ("kernel_source", "allreduce_dtype", "num_gpus", "message_size", "latency")
    columns = dict(zip(keys, zip(*rows, strict=True), strict=True))
    write(tmp_path / "comm" / "sglang" / "0.5.14", "custom_allreduce_perf.parquet", columns)
    (own,) = found(tmp_path).values()
    assert (own.kernels, own.kernel) == ("sglang", "SGLang_CustomAllReduce_graph")
    assert float(np.max(own.operation.payload_bytes)) == 2**24
    assert own.excluded == {
        "launched one by one, not from a graph": len(SIZES),
        "beyond the switch point: the engine leaves the sum to NCCL": int(
            np.count_nonzero(2 * SIZES > 2**24)
        ),
    }
    assert collective_kind(own).stated == {"collective": "all_reduce", "library": "engine"}


TRUE = ExchangeForm(t0=20, hop=9, near=0.6, far=0.85)


def write_deepep(
    root: Path, nodes: tuple[int, ...] = (1, 2, 4), device: str = "NVIDIA H100 80GB HBM3"
) -> Path:
    """Both tables as one known form would have made them, 24 SMs and 20."""
    site, rows = build_cluster(gpu=H100, nodes=8)[0], []
    for count in nodes:
        for hidden, top_k, experts in ((7168, 8, 256), (2048, 4, 64)):
            for tokens in 2 ** np.arange(0, 16, 2):
                times = []
                for kernel in ("normal", "low_latency"):
                    for size in (1 + 4 / 128, 2):
                        spread = Spread(top_k=top_k, num_experts=experts)
                        copies = float(spread.parts_hit(8 * count)) if kernel == "normal" else top_k
                        sent = Exchange(
                            name="",
                            axis="",
                            num_ranks=8 * count,
                            payload_bytes=tokens * copies * hidden * size,
                            remote=1,
                            kernel=kernel,
                            spread=spread,
                        )
                        links = leaving(sent, float(count))
                        times.append(float(np.asarray(exchange_form_seconds(links, site, TRUE))) * 1e6)
                rows.append((device, count, hidden, tokens, top_k, experts, *times))
    keys = ("device", "node_num", "hidden_size", "num_token", "num_topk", "num_experts")
    shape = {key: [row[at] for row in rows] for at, key in enumerate(keys)}
    there, back, quick_there, quick_back = ([row[at] for row in rows] for at in range(6, 10))
    folder = root / "comm" / "sglang" / "0.5.12"
    quick = {"dispatch_avg_t_us": quick_there, "combine_avg_t_us": quick_back}
    write(folder, "wideep_deepep_ll_perf.parquet", shape | quick)
    normal: dict[str, list[Any]] = {key: value * 2 for key, value in shape.items()}
    for side, times in (("dispatch", there), ("combine", back)):
        normal[f"{side}_sms"] = [24] * len(rows) + [20] * len(rows)
        normal[f"{side}_transmit_us"] = [time - 2 for time in times] + [1.0] * len(rows)
        normal[f"{side}_notify_us"] = [2.0] * 2 * len(rows)
    write(folder, "wideep_deepep_normal_perf.parquet", normal)
    return root


def test_the_constants_of_a_known_deepep_are_found(tmp_path: Path) -> None:
    rows = {each.kernel: each for each in exchange_rows(write_deepep(tmp_path), H100)}
    assert list(rows) == ["normal dispatch", "normal combine", "low_latency dispatch", "low_latency combine"]
    for name, each in rows.items():
        kind = exchange_kind(each)
        assert kind.stated == {
            "exchange": name.split()[0],
            "combines": name.endswith("combine"),
        }
        law = fit(kind, each, H100)
        assert (law.t0, law.hop, law.near, law.far) == pytest.approx((20, 9, 0.6, 0.85), rel=0.02)
    assert rows["normal dispatch"].excluded == {"other numbers of SMs": 48}


def test_what_lies_between_nodes_stays_where_nobody_measured_it(tmp_path: Path) -> None:
    rows = next(iter(exchange_rows(write_deepep(tmp_path, nodes=(1,)), H100)))
    law = fit(exchange_kind(rows), rows, H100)
    assert (law.t0, law.near) == pytest.approx((20, 0.6), rel=0.02)
    assert (law.hop, law.far) == (39, 0.89)


def test_rows_of_another_device_and_of_eight_nodes_are_left_out(tmp_path: Path) -> None:
    foreign = write_deepep(tmp_path / "a", device="NVIDIA H200")
    assert [len(rows) for rows in exchange_rows(foreign, H100)] == [0, 0, 0, 0]
    eight = {rows.kernel: rows for rows in exchange_rows(write_deepep(tmp_path / "b", nodes=(1, 8)), H100)}
    assert float(np.max(eight["normal combine"].operation.nodes)) == 1
    assert float(np.max(eight["low_latency combine"].operation.nodes)) == 8


def test_a_law_with_its_table_is_what_prices(tmp_path: Path) -> None:
    rows = found(write_nccl(tmp_path, noise=0.1))["NCCL all_reduce"]
    law = fit(collective_kind(rows), rows, H100)
    operation = rows.operation
    priced = np.asarray(collective_seconds(law, LINK, operation.num_ranks, operation.payload_bytes))
    assert priced == pytest.approx(np.asarray(collective_kind(rows).seconds(operation, H100, law)), rel=1e-12)
