"""Every rank alone: it holds what the sharding rules say, and asks its peers for what its program says."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from shardwright.cli.alone import measure_rank
from shardwright.engine.shardwright_runtime import SHARDWRIGHT_0_1
from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.layout.notation import parse_layout
from shardwright.layout.shards import rank_shards
from shardwright.layout.stages import stage_counts
from shardwright.model.catalog import find_model
from shardwright.model.kv import kv_bytes_per_token_per_layer_per_rank
from shardwright.model.weight import SHARDINGS
from shardwright.model.weights import weights
from shardwright.plan.alone import RankMeasurement
from shardwright.plan.deployment import Deployment, resolve
from shardwright.report.alone import rank_document
from shardwright.report.document import Document
from shardwright.run.alone import measure, room
from shardwright.run.alone.filled import FilledCache
from shardwright.run.alone.measure import Rounds, measure_alone
from shardwright.run.alone.peers import AbsentPeers
from shardwright.run.alone.solo import play_alone
from shardwright.run.alone.turn import turn_of
from shardwright.run.network import Request
from shardwright.run.operations import forms_of, stage_of
from shardwright.run.seat import Seat, Seats
from shardwright.run.tiny import FAMILIES
from shardwright.steps.operation import Communication, Exchange, Phase, Transfer
from shardwright.steps.program import rank_program
from tests.run.alone.test_hollow import tiny_spec

ONCE = Rounds(warm_ups=0, repetitions=1)
BATCH, INPUT, OUTPUT = 16, 12, 8
PHASES: tuple[Phase, ...] = ("prefill", "decode")

LAYOUTS = {
    "llama": ("tp2.pp2:3:1",),
    "qwen3": ("tp8", "pp2"),
    "mixtral": ("dp3/ep3", "tp2.dp2.pp2/ep4"),
    "qwen3_moe": ("tp2.dp2/ep4", "tp2.pp2+ep4.shared"),
    "olmoe": ("tp2.dp2/etp4", "tp4/ep2.etp2"),
    "deepseek_v2": ("tp1", "tp2+ep3"),
    "deepseek_v3": ("dp2.pp4+ep2.edp2.r4", "tp2.dp2/ep4.r4"),
    "gpt_oss": ("tp2.dp2.pp2/ep2.etp2", "tp2.dp2+ep2.etp2"),
}
"""Every home of experts and every role; ETP wider than TP, redundant experts, stages without experts."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Every request of every rank that runs, in order."""
    requests: list[Request] = []
    answer = AbsentPeers.answer

    def recording(peers: AbsentPeers, request: Request) -> torch.Tensor:
        requests.append(request)
        return answer(peers, request)

    monkeypatch.setattr(AbsentPeers, "answer", recording)
    return requests


def deployed(family: str, **changed: Any) -> Deployment:
    """A small load on the tiny model of a family."""
    load = {"batch": BATCH, "input_tokens": INPUT, "output_tokens": OUTPUT, "max_model_len": 64, **changed}
    cluster = {"gpu": "H100-SXM-80GB", "nodes": 1, "gpus_per_node": 8}
    base = resolve({"model": "Qwen/Qwen3-8B", "cluster": cluster, "workload": load})
    return base.model_copy(update={"model": tiny_spec(family)})


def seats_of(deployment: Deployment, layout: str) -> Seats:
    parsed = parse_layout(layout)
    counts = stage_counts(parsed, deployment.model.num_layers)
    return Seats(model=deployment.model, layout=parsed, stage_layers=counts)


def weight_bytes(seat: Seat) -> float:
    """Bytes of the rank's shards, and of the zeros that it adds where rank 0 of an axis has the value."""
    seats, held = seat.seats, [layer for stage in seat.stages for layer in seat.layers(stage)]
    rows = weights(seats.model)
    total = sum(shard.num_bytes for shard in rank_shards(rows, seats.grid, seats.stage_layers, seat.rank))
    for row in rows:
        rule = SHARDINGS[row.sharding]
        index = seat.place.tp if rule.axis == "tp" else seat.place.etp
        if rule.first_rank and row.layer in held and index:
            total += row.shape[0] * row.bytes_per_element * (len(seat.slots) if rule.per_slot else 1)
    return total


def kv_bytes(seat: Seat, phase: Phase) -> float:
    """Of a prompt, or of the micro-batch's sequences half way through their answers."""
    if seat.place.tp is None or seat.place.stage is None:
        return 0.0
    layout, model = seat.layout, seat.seats.model
    sequences = 1 if phase == "prefill" else -(-BATCH // layout.dp // layout.pp)
    tokens = sequences * (INPUT if phase == "prefill" else INPUT + OUTPUT // 2)
    row = kv_bytes_per_token_per_layer_per_rank(model, layout.tp)
    return row * seat.seats.stage_layers[seat.place.stage] * tokens


def said(deployment: Deployment, seat: Seat, phase: Phase) -> Iterator[tuple[str, int | None, int | None]]:
    """(name, layer, bytes) of each communication of the program; an exchange's bytes are the routing's."""
    load = turn_of(deployment, seat, phase).load
    for stage in seat.stages:
        run = stage_of(seat, stage)
        for op in rank_program(seat.seats.model, seat.layout, run, load, seat.role, forms_of(seat)):
            if isinstance(op, Communication) and float(op.num_ranks) > 1:
                name = "stage" if isinstance(op, Transfer) else op.name
                yield name, op.layer, None if isinstance(op, Exchange) else int(op.bytes)


def differences(deployment: Deployment, layout: str, rank: int, asked: list[Request]) -> list[str]:
    """How one rank that runs alone differs from its plan: none, when all is well."""
    asked.clear()
    measured = measure_alone(deployment, parse_layout(layout), rank, rounds=ONCE)
    seat = seats_of(deployment, layout).seat(rank)
    found = []
    if measured.weight_bytes != weight_bytes(seat):
        found.append(f"weights {measured.weight_bytes}, not {weight_bytes(seat)}")
    for phase in measured.phases:
        if phase.kv_bytes != kv_bytes(seat, phase.phase):
            found.append(f"KV {phase.kv_bytes}, not {kv_bytes(seat, phase.phase)}")
        if phase.measured.low_s <= 0 or (phase.predicted_s.value > 0) != (measured.weight_bytes > 0):
            found.append("no time")
    requests = [request for request in asked if request.name not in ("dispatch_counts", "lane_sizes")]
    program = [row for phase in PHASES for row in said(deployment, seat, phase)]
    rows = [(r.name, r.layer, None if r.kind == "all_to_all" else r.payload_bytes) for r in requests]
    if rows != program:
        found.append("requests are not the program's")
    due = {phase: turn_of(deployment, seat, phase).expert_rows for phase in PHASES}
    came = [sum(request.takes) for request in requests if request.name == "dispatch"]
    expected = [due[phase] if seat.slots else 0 for phase in PHASES for _ in range(len(came) // 2)]
    if came != expected:
        found.append(f"rows {came}, not {expected}")
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_every_rank_holds_and_asks_what_its_plan_says(family: str, asked: list[Request]) -> None:
    deployment = deployed(family)
    for layout in LAYOUTS[family]:
        for rank in range(parse_layout(layout).num_gpus):
            assert differences(deployment, layout, rank, asked) == [], (layout, rank)


def test_mistakes_are_found(asked: list[Request], monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, layout = deployed("qwen3_moe"), "tp2.dp2/ep4"
    to_come = AbsentPeers._rows_to_come

    def one_more(peers: AbsentPeers, request: Request) -> torch.Tensor:
        return to_come(peers, request) + torch.nn.functional.one_hot(torch.tensor(0), request.tensor.numel())

    with monkeypatch.context() as patch:
        patch.setattr(AbsentPeers, "_rows_to_come", one_more)
        assert any("rows" in text for text in differences(deployment, layout, 1, asked))
    with monkeypatch.context() as patch:
        patch.setattr(
            measure, "_seat", lambda model, split, rank: seats_of(deployment, "tp2.dp2/ep4.r4").seat(rank)
        )
        assert any("weights" in text for text in differences(deployment, layout, 1, asked))
    with monkeypatch.context() as patch:
        patch.setattr(FilledCache, "num_bytes", property(lambda cache: 0))
        assert any("KV" in text for text in differences(deployment, layout, 1, asked))


def test_times_are_of_computation_alone() -> None:
    """What answers take is in no figure."""

    def program() -> Any:
        for name in ("dispatch_counts", "dispatch"):
            time.sleep(0.01)
            yield Request(kind="all_to_all", name=name, layer=0, group=(0, 1), tensor=torch.zeros(1))
        yield Request(kind="send", name="stage", layer=None, group=(0, 1), tensor=torch.zeros(1))

    def slow(request: Request) -> torch.Tensor:
        time.sleep(0.2)
        return request.tensor

    seconds = play_alone(program(), slow, torch.device("cpu"))
    assert list(seconds) == ["dispatch", "send_stage", "end"]
    assert 0.02 <= seconds["dispatch"] < 0.2 and seconds["send_stage"] < 0.1


def test_stretches_add_up_and_are_the_programs() -> None:
    measured = measure_alone(deployed("olmoe"), parse_layout("tp2.dp2/etp4"), 3, rounds=ONCE)
    for phase in measured.phases:
        names = [part.until for part in phase.stretches]
        assert names[:3] == ["embedding_sum", "qk_norm_sum", "attention_sum"] and names[-1] == "end"
        assert sum(p.measured.median_s for p in phase.stretches) == pytest.approx(phase.measured.median_s)
        assert sum(p.predicted_s for p in phase.stretches) == pytest.approx(phase.predicted_s.value)


def test_load_is_the_plans() -> None:
    """Long prompts in chunks; micro-batches of a full house at the mean context."""
    deployment = deployed("mixtral", input_tokens=20_000, max_model_len=32_000)
    seat = seats_of(deployment, "tp2.dp2.pp2/ep4").seat(0)
    prefill, decode = (turn_of(deployment, seat, phase) for phase in PHASES)
    assert 20_000 / 3 <= prefill.query_tokens <= SHARDWRIGHT_0_1.memory.limits[-1].max_batched_tokens
    assert prefill.past == (20_000 - prefill.query_tokens) // 2
    assert (decode.sequences, decode.query_tokens, decode.context) == (4, 1, 20_004)
    # One expert rank alone: every token's top-2, of both dp ranks' 4 and of both sets'.
    whole = seats_of(deployment, "dp2+ep1").seat(2)
    assert turn_of(deployment, whole, "decode").expert_rows == BATCH * 2


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("llama", "qwen3")])
def test_fused_kernels_run(family: str) -> None:
    measured = measure_alone(deployed(family), parse_layout("tp2/ep2"), 1, rounds=ONCE, kernels="fused")
    assert measured.expert_kernel == "grouped_mm"
    assert measured.attention_kernel == ("eager" if family == "gpt_oss" else "sdpa")


def test_quantised_weights_are_executed_in_bf16_and_it_is_said() -> None:
    deployment = deployed("deepseek_v3")
    quantised = deployment.model.model_copy(update={"weight_dtype": "fp8", "kv_dtype": "bf16"})
    deployment = deployment.model_copy(update={"model": quantised})
    measured = measure_alone(deployment, parse_layout("tp2/ep2"), 0, rounds=ONCE)
    assert (measured.dtype, measured.stated_in) == ("bf16", "fp8")
    assert measured.weight_bytes == measured.predicted_weight_bytes
    assert "executes them in bf16" in text_of(rank_document(measured))


def test_records_are_json_and_reports_never_compare_devices() -> None:
    measured = measure_alone(deployed("gpt_oss"), parse_layout("dp2/ep2"), 1, rounds=ONCE)
    assert RankMeasurement.model_validate_json(measured.model_dump_json()) == measured
    other = text_of(rank_document(measured))
    assert "another device" in other and "over predicted" not in other
    assert "the memory model the window alone" in other
    same = text_of(rank_document(measured.model_copy(update={"same_device": True})))
    assert "another device" not in same and "Measured over predicted: prefill" in same


def test_what_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment, layout = deployed("qwen3_moe"), parse_layout("tp2/ep2")
    with pytest.raises(InputError, match="--rank: 2 is not allowed; expected 0 to 1, a rank of tp2/ep2"):
        measure_alone(deployment, layout, 2)
    with pytest.raises(InputError, match="layout: 'tp3/ep3'"):
        measure_alone(deployment, parse_layout("tp3/ep3"), 0)
    with pytest.raises(InputError, match="qkv_bias"):
        other = deployment.model_copy(update={"model": find_model("Qwen2.5-7B-Instruct")})
        measure_alone(other, parse_layout("tp4"), 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentLacksError, match="no GPU") as lacks:
        measure_alone(deployment, layout, 0, "cuda")
    assert lacks.value.exit_code == 3
    monkeypatch.setattr(room, "free_bytes", lambda device: 1e5)
    with pytest.raises(EnvironmentLacksError, match=r"rank 0 needs about .* has 100 kB free"):
        measure_alone(deployment, layout, 0)


def test_verb_measures_a_deployments_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="a layout alone has no model"):
        measure_rank(None, "tp2", rank=0)
    spec = deployed("mixtral").model.model_dump(mode="json", exclude={"source"})
    spec["family"] = "generic"
    stated = {
        "model": spec,
        "cluster": {"gpu": "A100-SXM-64GB"},
        "layout": "tp1+ep2",
        "engine": "shardwright",
    }
    stated["workload"] = {"batch": 4, "input_tokens": 8, "output_tokens": 4, "max_model_len": 16}
    (tmp_path / "deploy.yaml").write_text(json.dumps(stated))
    options: dict[str, Any] = {"rank": 2, "repetitions": 1, "warm_ups": 0, "output": tmp_path}
    assert measure_rank(tmp_path / "deploy.yaml", None, as_json=True, **options) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "rank-2.json").read_text())
    assert printed["role"] == "experts" and printed["executed_as"] == "mixtral"
    assert printed["predicted_for"] == "A100-SXM-64GB" and not printed["same_device"]
    assert measure_rank(tmp_path / "deploy.yaml", "tp1/ep1", rank=0, repetitions=1, warm_ups=0) == 0
    assert "Rank 0 of tp1, alone" in capsys.readouterr().out


def text_of(document: Document) -> str:
    return str(document)
