"""shardwright simulate: closed, open and static loads of a plan, and options that contradict each other."""

import json
from pathlib import Path
from typing import Any

import pytest

from shardwright.serving.simulation import Simulation
from tests.cli.run import Outcome, shardwright

DEPLOYMENT = """
model: Qwen/Qwen3-32B
cluster: {gpu: H100, nodes: 1, gpus_per_node: 4}
workload: {batch: 4, input_tokens: 200, output_tokens: 30, max_model_len: 512}
engine: vllm
layout: tp2.x2
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "deployment.yaml"
    path.write_text(DEPLOYMENT, encoding="utf-8")
    return str(path)


def simulated(*arguments: str) -> tuple[int, Simulation]:
    outcome = shardwright("simulate", *arguments, "--json")
    return outcome.status, Simulation.model_validate_json(outcome.out)


def test_by_default_the_deployments_batch_is_in_flight(file: str) -> None:
    status, found = simulated(file)
    assert (status, found.layout, found.num_gpus, found.schema_version) == (0, "tp2.x2", 4, 1)
    assert (found.load.kind, found.load.concurrency, found.load.num_requests) == ("closed", 4, 40)
    assert (found.load.input_tokens.low, found.load.output_tokens.high) == (180, 33)
    outcome = found.outcome
    assert outcome.num_requests == 40
    assert outcome.output_tokens_per_s * outcome.duration_s == pytest.approx(40 * 30, rel=0.05)
    assert outcome.total_tokens_per_s * outcome.duration_s == pytest.approx(40 * 230, rel=0.05)
    assert outcome.requests_per_s * outcome.e2e_s.mean <= 4 * (1 + 1e-9), "Little: no more than are in flight"


def test_a_closed_load_keeps_so_many_in_flight(file: str) -> None:
    """More of them wait longer, and are served faster together."""
    few, many = (simulated(file, "--concurrency", count)[1] for count in ("2", "32"))
    assert many.load.num_requests == 320
    assert many.outcome.output_tokens_per_s > 2 * few.outcome.output_tokens_per_s
    assert many.outcome.ttft_s.mean > few.outcome.ttft_s.mean
    assert many.outcome.first_token.first_wave_queue_s is not None


def test_an_open_load_comes_at_its_rate(file: str) -> None:
    _, found = simulated(file, "--rate", "5", "--requests", "400")
    assert (found.load.kind, found.load.rate_per_s, found.load.concurrency) == ("open", 5.0, None)
    assert found.outcome.requests_per_s == pytest.approx(5, rel=0.2)
    assert found.outcome.first_token.first_wave_queue_s is None


def test_bursts_make_the_same_rate_wait_longer(file: str) -> None:
    even, bursts = (
        simulated(file, "--rate", "20", "--requests", "400", "--burstiness", shape)[1]
        for shape in ("100", "0.1")
    )
    assert bursts.outcome.ttft_s.p99 > even.outcome.ttft_s.p99


def test_a_static_batch_is_sent_once(file: str) -> None:
    _, found = simulated(file, "--static", "16")
    assert (found.load.kind, found.load.num_requests, found.outcome.num_requests) == ("static", 16, 16)
    assert found.outcome.duration_s == pytest.approx(found.outcome.e2e_s.p99, rel=0.2)


def test_lengths_are_drawn_from_a_range(file: str) -> None:
    options = ("--input-tokens", "100", "--output-tokens", "50", "--range-ratio", "0.5")
    _, found = simulated(file, *options, "--requests", "200")
    load = found.load
    assert (load.input_tokens.low, load.input_tokens.high) == (50, 100)
    assert (load.output_tokens.low, load.output_tokens.high) == (25, 50)
    tokens = found.outcome.output_tokens_per_s * found.outcome.duration_s / 200
    assert tokens == pytest.approx(37.5, rel=0.06)


def test_the_seed_is_all_that_is_drawn(file: str) -> None:
    options = ("--rate", "5", "--requests", "50", "--range-ratio", "0.5")
    one, same, other = (simulated(file, *options, "--seed", seed)[1].outcome for seed in "334")
    assert one == same != other


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ({"tpot_ms": 0.001}, 1),
        ({"ttft_ms": 0.001}, 1),
        ({"throughput_tokens_per_s": 1e9}, 1),
        ({"tpot_ms": 1e6, "ttft_ms": 1e6, "throughput_tokens_per_s": 1}, 0),
    ],
)
def test_a_missed_target_ends_with_1(tmp_path: Path, target: dict[str, float], status: int) -> None:
    path = tmp_path / "deployment.yaml"
    path.write_text(DEPLOYMENT + f"targets: {json.dumps(target)}\n", encoding="utf-8")
    outcome = shardwright("simulate", str(path))
    word = "missed" if status else "met"
    assert outcome.status == status
    assert f"Targets of TTFT, TPOT and throughput, at the means: {word}." in outcome.out


def test_goodput_counts_the_requests_within_the_targets(tmp_path: Path) -> None:
    path = tmp_path / "deployment.yaml"

    def goodput(limit: float) -> tuple[float | None, float]:
        path.write_text(DEPLOYMENT + f"targets: {{ttft_ms: {limit}}}\n", encoding="utf-8")
        _, found = simulated(str(path), "--rate", "30", "--requests", "200")
        return found.outcome.goodput_per_s, found.outcome.requests_per_s

    assert goodput(0.001)[0] == 0
    good, every = goodput(1e6)
    assert good == pytest.approx(every)


def test_a_plan_is_simulated_in_its_layout(file: str, tmp_path: Path) -> None:
    shardwright("plan", file, "-o", str(tmp_path / "plan"))
    asked, planned = simulated(file)[1], simulated(str(tmp_path / "plan"))[1]
    assert planned == asked
    _, other = simulated(str(tmp_path / "plan"), "--layout", "tp4")
    assert (other.layout, other.num_gpus) == ("tp4", 4)


def test_people_read_the_same_figures(file: str) -> None:
    outcome = shardwright("simulate", file)
    assert outcome.status == 0
    for words in ("Simulated: tp2.x2 on 4 GPUs", "What clients see", "TTFT", "A prediction.", "prefill"):
        assert words in outcome.out


def refused(*arguments: str) -> Outcome:
    outcome = shardwright("simulate", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert "Traceback" not in outcome.err
    return outcome


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--rate 5 --concurrency 2", "--rate: 5.0 is not allowed; expected nothing beside --concurrency"),
        ("--static 5 --rate 2", "--static: 5 is not allowed; expected nothing beside --rate"),
        ("--static 5 --concurrency 2", "nothing beside --concurrency"),
        ("--static 5 --requests 2", "--requests: 2 is not allowed; expected nothing beside --static"),
        ("--burstiness 0.5", "--burstiness: 0.5 is not allowed; expected nothing but beside --rate"),
        ("--rate 0", "--rate: 0.0 is not allowed; expected requests a second, more than 0"),
        ("--rate inf", "--rate: inf is not allowed"),
        ("--rate nan", "--rate: nan is not allowed"),
        ("--concurrency 0", "0 is not in the range"),
        ("--range-ratio 0", "0.0 is not in the range"),
        ("--concurrency 100000 --requests 1000000 --output-tokens 100000", "tokens of answers in all"),
        ("--layout nonsense", "layout"),
    ],
)
def test_options_that_make_no_load_are_refused(file: str, options: str, message: str) -> None:
    assert message in " ".join(refused(file, *options.split()).err.split())


@pytest.mark.parametrize(
    ("layout", "rule", "words"),
    [("tp3", "heads", "Broken by"), ("tp4.x2", "gpus", "than the 4 that are there")],
)
def test_a_layout_that_cannot_run_is_said_to_be(file: str, layout: str, rule: str, words: str) -> None:
    """Its figures stand there all the same, as those of a plan do."""
    status, found = simulated(file, "--layout", layout)
    assert (status, found.met) == (1, False)
    assert rule in [breach.rule for breach in found.obstacles]
    drawn = shardwright("simulate", file, "--layout", layout).out
    assert "Why it cannot run" in drawn and words in " ".join(drawn.split())


def test_more_copies_than_requests_are_no_obstacle_to_a_load(file: str) -> None:
    status, found = simulated(file, "--concurrency", "1")
    assert (status, found.obstacles) == (0, ())


def test_a_request_without_room_is_refused(file: str) -> None:
    """Qwen3-32B's weights take 65 GB of an H100's 80."""
    outcome = refused(file, "--layout", "tp1", "--input-tokens", "9000000")
    assert "room for a request of" in outcome.err


def test_json_and_drawing_agree(file: str) -> None:
    found: dict[str, Any] = json.loads(shardwright("simulate", file, "--json").out)
    steps = found["outcome"]["steps"]
    assert f"{steps:,} steps" in shardwright("simulate", file).out
