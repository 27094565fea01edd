"""The client's command and its result, and rows that are added to a file whole or not at all."""

import csv
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shardwright.calibrate.measured.row import Row, read_rows
from shardwright.engine.catalog import find_engine
from shardwright.errors import EnvironmentLacksError, InputError
from shardwright.launch.bench import Measured, client_words, read_result, run_client, without_proxy
from shardwright.launch.compare import prediction
from shardwright.launch.rows import COLUMNS, append_row, measured_row, settings_of
from shardwright.launch.start import EngineFailedError
from shardwright.serving.requests import Lengths
from shardwright.serving.simulation import Load
from tests.launch.tiny_plans import tiny_plan

ENGINE = find_engine("vllm@0.32")
CLOSED = Load(
    kind="closed",
    concurrency=4,
    num_requests=40,
    input_tokens=Lengths(low=64, high=64),
    output_tokens=Lengths(low=32, high=32),
    seed=3,
)
OPEN = CLOSED.model_copy(update={"kind": "open", "concurrency": None, "rate_per_s": 2.5, "burstiness": 0.5})
COMMAND = ["vllm", "serve", "a b; rm -rf x", "--port", "1"]


def options(words: list[str]) -> dict[str, str]:
    return dict(itertools.pairwise(words))


def test_a_closed_loop_is_the_clients_concurrency() -> None:
    words = client_words(CLOSED, url="http://127.0.0.1:1", model="m", served="s", result=Path("/x/r.json"))
    said = options(words)
    assert words[:3] == ["vllm", "bench", "serve"]
    assert (said["--max-concurrency"], said["--num-prompts"], said["--seed"]) == ("4", "40", "3")
    assert (said["--random-input-len"], said["--random-output-len"]) == ("64", "32")
    assert (said["--model"], said["--served-model-name"]) == ("m", "s")
    assert (said["--result-dir"], said["--result-filename"]) == ("/x", "r.json")
    assert "--ignore-eos" in words
    assert not {"--request-rate", "--burstiness"} & set(words)


@pytest.mark.parametrize(("tokens", "spread"), [(64, 0.1), (32, 0.1), (1000, 0.37), (7, 0.5), (123_457, 0.1)])
def test_the_client_draws_the_lengths_of_the_load(tokens: int, spread: float) -> None:
    """By the ends that vLLM 0.32.0 rounds to: benchmarks/datasets/utils.py:70-73."""
    drawn = CLOSED.model_copy(update={"input_tokens": Lengths.around(tokens, spread)})
    said = options(client_words(drawn, url="u", model="m", served="s", result=Path("r")))
    nominal, ratio = int(said["--random-input-len"]), json.loads(said["--random-range-ratio"])
    assert math.floor(nominal * (1 - ratio["input"])) == drawn.input_tokens.low
    assert math.ceil(nominal * (1 + ratio["input"])) == drawn.input_tokens.high
    assert (ratio["output"], nominal) == (0.0, tokens)
    assert "--random-range-ratio" not in options(
        client_words(CLOSED, url="u", model="m", served="s", result=Path())
    )


def test_an_open_loop_is_the_clients_rate() -> None:
    words = client_words(OPEN, url="u", model="m", served="s", result=Path("r"))
    assert options(words)["--request-rate"] == "2.5"
    assert options(words)["--burstiness"] == "0.5"
    assert "--max-concurrency" not in words


def written(**changes: Any) -> dict[str, Any]:
    """A result as vLLM 0.32.0's client writes it, by its own names."""
    found: dict[str, Any] = {"completed": 40, "failed": 0, "duration": 10.0, "total_input_tokens": 2560}
    found |= {"total_output_tokens": 1280, "output_throughput": 128.0, "request_throughput": 4.0}
    for scale, name in ((1, "ttft"), (2, "tpot"), (3, "itl"), (4, "e2el")):
        for offset, kind in ((20, "mean"), (10, "median"), (40, "p90"), (50, "p99")):
            found[f"{kind}_{name}_ms"] = float(scale * 100 + offset)
    return {**found, **changes}


def test_a_result_is_read_in_seconds() -> None:
    found = read_result(written())
    assert (found.ttft_s.mean, found.ttft_s.median) == (pytest.approx(0.12), pytest.approx(0.11))
    assert (found.tpot_s.p90, found.e2e_s.p99) == (pytest.approx(0.24), pytest.approx(0.45))
    assert (found.completed, found.output_tokens_per_s) == (40, 128.0)


@pytest.mark.parametrize("lost", ["mean_ttft_ms", "p99_e2el_ms", "completed", "output_throughput"])
def test_a_result_that_lacks_something_is_refused(lost: str) -> None:
    with pytest.raises(InputError, match=lost):
        read_result({name: value for name, value in written().items() if name != lost})


def test_the_client_runs_and_leaves_nothing(environment: dict[str, str]) -> None:
    found, words = run_client(CLOSED, url="u", model="m", served="s", environment=environment)
    assert found.completed == 40
    assert words[0] == "vllm"
    assert not Path(options(words)["--result-dir"]).exists(), "it works in a folder that goes with it"


def test_a_server_is_asked_by_no_proxy() -> None:
    found = without_proxy({"http_proxy": "http://p:1", "no_proxy": "a.example"}, "http://127.0.0.1:80")
    assert (found["no_proxy"], found["NO_PROXY"]) == ("a.example,127.0.0.1", "127.0.0.1")
    assert found["http_proxy"] == "http://p:1"


def test_a_run_with_a_failed_request_is_not_kept(environment: dict[str, str]) -> None:
    with pytest.raises(EngineFailedError, match="1 of 40 requests failed: nothing is kept"):
        run_client(CLOSED, url="u", model="m", served="s", environment={**environment, "FAKE": "failed"})


def test_a_client_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacksError, match="vllm is not installed here"):
        run_client(CLOSED, url="u", model="m", served="s", environment={"PATH": str(tmp_path)})


def row(
    folder: Path, load: Load = CLOSED, *, layout: str = "tp2/ep2", date: str = "2026-11-28"
) -> dict[str, str]:
    return measured_row(
        tiny_plan(folder, layout),
        ENGINE,
        load,
        read_result(written()),
        date=date,
        engine_version="0.32.0",
        commands=(COMMAND, ["vllm", "bench", "serve"]),
        device="cpu",
    )


def test_the_columns_are_those_of_the_published_rows() -> None:
    """By the README of the published rows, in its words."""
    listed = (
        "source, source_path, model, total_params_b, gpu, gpus, nodes, tp, ep, pp, dp, dp_attention, engine, "
        "engine_version, precision_weights, precision_kv, isl, osl, concurrency_or_batch, request_rate, "
        "output_tok_s_total, output_tok_s_per_gpu, total_tok_s_per_gpu, ttft_ms_mean, ttft_ms_p99, "
        "tpot_ms_mean, tpot_ms_p99, e2e_ms, notes, ttft_ms_median, tpot_ms_median, mode, spec_decode, "
        "is_moe, date, licence, quality, row_id, arch_family"
    )
    assert ", ".join(COLUMNS) == listed
    assert set(Row.model_fields) - {"at_once"} <= set(COLUMNS)


def test_a_row_is_read_back_as_it_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "rows.csv"
    append_row(file, row(tmp_path))
    append_row(file, row(tmp_path, OPEN, layout="dp2/ep2"))
    closed, opened = read_rows(file)
    assert (closed.tp, closed.ep, closed.pp, closed.dp, closed.gpus, closed.nodes) == (2, 2, 1, 1, 2, 1)
    assert (opened.tp, opened.ep, opened.dp) == (1, 2, 2)
    assert (closed.concurrency_or_batch, closed.request_rate) == (4, None)
    assert (opened.concurrency_or_batch, opened.request_rate) == (None, 2.5)
    assert (closed.engine, closed.engine_version, closed.gpu, closed.isl, closed.osl) == (
        *("vllm", "0.32.0", "cpu"),
        *(64, 32),
    )
    assert (closed.ttft_s, closed.tpot_s) == (pytest.approx(0.11), pytest.approx(0.21))
    assert closed.output_tokens_per_s == 128.0
    assert (closed.noted("seed"), closed.noted("requests"), opened.noted("burstiness")) == ("3", "40", "0.5")
    with file.open(newline="") as stream:
        paths = [cells["source_path"] for cells in csv.DictReader(stream)]
    assert paths == ["vllm serve 'a b; rm -rf x' --port 1 && vllm bench serve"] * 2
    assert closed.row_id != opened.row_id
    assert row(tmp_path)["row_id"] == closed.row_id, "the same measurement has the same name"
    assert row(tmp_path, date="2026-11-29")["row_id"] != closed.row_id


def test_one_throughput_is_given(tmp_path: Path) -> None:
    cells = row(tmp_path)
    assert (cells["output_tok_s_total"], cells["output_tok_s_per_gpu"]) == ("128", "")


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "row_id,model\n", '"unclosed\n', ",".join(COLUMNS[:-1]) + "\n"]
)
def test_a_file_with_other_columns_stays_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text(text)
    with pytest.raises(InputError, match="--rows"):
        append_row(file, row(tmp_path))
    assert file.read_text() == text


def test_what_stands_in_a_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    append_row(file, row(tmp_path))
    before = file.read_bytes().rstrip(b"\n").replace(b"agg", b'"a\r\ng"')
    file.write_bytes(before)
    append_row(file, row(tmp_path))
    assert file.read_bytes().startswith(before + b"\n")
    with file.open(newline="") as stream:
        assert len(list(csv.reader(stream))) == 3


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--rows"):
        append_row(tmp_path / "file" / "rows.csv", row(tmp_path))


ADDER = """
import json, sys
from pathlib import Path
from shardwright.launch.rows import append_row
cells = json.loads(sys.argv[2])
for _ in range(5):
    append_row(Path(sys.argv[1]), cells)
"""


def test_rows_of_two_at_once_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    words = [sys.executable, "-c", ADDER, str(file), json.dumps(row(tmp_path))]
    adders = [subprocess.Popen(words) for _ in range(3)]
    assert [adder.wait() for adder in adders] == [0, 0, 0]
    assert len(read_rows(file)) == 15
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_settings_are_kept_and_secrets_are_not() -> None:
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_API_KEY": "x",
        "HF_TOKEN": "y",
        "HOME": "/h",
        "OMP_NUM_THREADS": "1",
    }
    assert settings_of(environment) == ["OMP_NUM_THREADS=1", "VLLM_CPU_KVCACHE_SPACE=1"]


def test_a_device_that_nobody_measured_has_no_prediction(tmp_path: Path) -> None:
    found, why = prediction(tiny_plan(tmp_path, "tp2/ep2"), CLOSED)
    assert found is None
    assert "no operator was measured on cpu" in why


def test_a_device_that_was_measured_has_one(tmp_path: Path) -> None:
    plan = tiny_plan(tmp_path, "tp2/ep2", cluster={"gpu": "H100", "nodes": 1, "gpus_per_node": 2})
    found, why = prediction(plan, CLOSED)
    assert found is not None
    assert (found.load, found.layout, why) == (CLOSED, "tp2/ep2", "")


def test_a_load_without_room_has_no_prediction(tmp_path: Path) -> None:
    """An H100 that a profile of its own gives 100 MB."""
    plan = tiny_plan(tmp_path, "tp2/ep2", cluster={"gpu": "H100", "nodes": 1, "gpus_per_node": 2})
    device = plan.deployment.cluster.device.model_copy(update={"memory_bytes": 10**8})
    cluster = plan.deployment.cluster.model_copy(update={"device": device})
    small = plan.model_copy(update={"deployment": plan.deployment.model_copy(update={"cluster": cluster})})
    found, why = prediction(small, CLOSED)
    assert found is None
    assert why.startswith("the load cannot be simulated: ")


def test_a_measurement_has_no_blank_figures() -> None:
    with pytest.raises(InputError, match=r"result\.ttft_s\.mean"):
        read_result(written(mean_ttft_ms=float("nan")))
    assert Measured.model_fields.keys() >= {"ttft_s", "tpot_s", "itl_s", "e2e_s"}
