"""vLLM 0.32.0 itself on this machine's CPU, started from plans (make engines; a minute or two a layout).

SHARDWRIGHT_ENGINE_PATH is the folder with its `vllm`, beside which tests/launch/engines/vllm_cpu_plugin is
installed.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from shardwright.calibrate.measured.row import read_rows
from shardwright.engine.catalog import find_engine
from shardwright.launch.client import Answer, answer_to, served_model
from shardwright.launch.compare import Bench
from shardwright.launch.make import launch_of
from shardwright.launch.processes import Member, living, session_members
from shardwright.launch.start import EngineFailedError, explaining, started, wait_ready
from shardwright.plan.plan import Plan
from tests.cli.run import shardwright
from tests.launch.test_start import free_port
from tests.launch.tiny_plans import deployment_file, tiny_plan

pytestmark = pytest.mark.engines

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PATIENCE_S = 900.0

CPU_ENVIRONMENT = {
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Without these two it compiles for a minute, and dispatch (DP with EP) cannot be traced at all.
    "VLLM_CPU_CI_ENV": "1",
    "TORCHDYNAMO_DISABLE": "1",
    # With more threads than cores TP is a hundred times slower.
    "OMP_NUM_THREADS": "1",
}
"""Traffic stays on this machine, the cache is 1 GiB a rank, nothing is compiled."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from shardwright.run.tiny import make_tiny  # noqa: PLC0415 - it imports torch

    return make_tiny("served", tmp_path_factory.mktemp("served"))


@pytest.fixture(autouse=True)
def on_this_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.environ.get("SHARDWRIGHT_ENGINE_PATH"), "the folder with vllm: run `make engines`"
    for name, value in CPU_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def environment() -> dict[str, str]:
    path = os.pathsep.join([os.environ["SHARDWRIGHT_ENGINE_PATH"], os.environ["PATH"]])
    return {**os.environ, "PATH": path}


def by_transformers(checkpoint: Path, answer: Answer) -> tuple[int, ...]:
    """Greedy tokens of the model as transformers executes it, by itself and in fp32."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    prompt = torch.tensor([answer.prompt])
    found = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=answer.num_tokens,
        do_sample=False,
    )
    return tuple(found[0, len(answer.prompt) :].tolist())


@pytest.mark.parametrize("layout", ["tp2/etp2", "pp2", "dp2/ep2", "tp2/ep2"])
def test_vllm_runs_the_plan(checkpoint: Path, tmp_path: Path, layout: str) -> None:
    """Realised layout, tokens, a row of what its client measured, and nothing left."""
    file, rows = deployment_file(tmp_path, layout, model=str(checkpoint)), tmp_path / "rows.csv"
    before = vllm_processes()
    options = ("--rows", str(rows), "--requests", "8", "--port", str(free_port()), "--json")
    outcome = shardwright("bench", str(file), *options)
    assert outcome.status == 0, outcome.err or outcome.out
    found = Bench.model_validate_json(outcome.out)
    assert found.check is not None
    seconds = found.check.startup_s, found.measured.duration_s
    print(f"\n{layout}: ready after {seconds[0]:.0f} s, {seconds[1]:.1f} s for 8 requests")
    rows_by_name = {row.what: row for row in found.check.rows}
    assert all(rows_by_name[f"rank {rank}"].ok for rank in range(2))
    assert rows_by_name["DP rank 0: KV bytes a token, of the fullest stage"].ok
    assert len(found.check.answers) == (4 if "dp2" in layout else 2)
    for answer in found.check.answers:
        assert len(answer.tokens) == 8
        assert answer.tokens == by_transformers(checkpoint, answer)
    (row,) = read_rows(rows)
    assert (row.row_id, row.engine_version) == (found.row_id, "0.32.0")
    assert row.tpot_s is not None
    assert row.tpot_s > 0
    assert (
        found.load.output_tokens.low * 8 <= found.measured.output_tokens <= found.load.output_tokens.high * 8
    )
    assert vllm_processes() <= before
    assert not list(Path("/dev/shm").glob("vllm_dist_*"))


def vllm_processes() -> set[int]:
    """Of this machine, by the title that they give themselves."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"VLLM::") or b"vllm\0serve" in title:
            found.add(int(entry.name))
    return found


def tp2(checkpoint: Path, folder: Path) -> tuple[Plan, int]:
    return tiny_plan(folder, "tp2/etp2", model=str(checkpoint)), free_port()


def test_a_killed_worker_ends_all_with_one_message(checkpoint: Path, tmp_path: Path) -> None:
    plan, port = tp2(checkpoint, tmp_path)
    launch = launch_of(plan, find_engine("vllm@0.32"), port=port)
    members: list[Member] = []
    with (
        pytest.raises(EngineFailedError) as failed,
        started(launch.processes, tmp_path, environment()) as running,
    ):
        wait_ready(running, launch.health, PATIENCE_S, lambda line: None)
        members = session_members(running[0].leader.pid)
        url = str(running[0].url)
        model = served_model(url)
        (worker,) = [
            pid for pid in (member.identity.pid for member in members) if _title(pid) == "VLLM::Worker_TP1"
        ]
        os.kill(worker, signal.SIGKILL)
        with explaining(running):
            while True:
                answer_to(url, model, [1, 2, 3], 8, timeout_s=60)
                time.sleep(0.2)
    message = str(failed.value)
    print(f"\n{message}")
    assert message.startswith("copy0-node0 (node 0, ranks 0, 1) ended with exit status ")
    assert "Worker proc VllmWorker-1 died unexpectedly" in message
    assert len(members) >= 4
    assert not living(member.identity for member in members)


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode()


def test_a_crash_at_start_ends_with_the_engines_reason(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache larger than the machine: vLLM finds out after it has loaded the model."""
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "100000")
    file = deployment_file(tmp_path, "tp2/etp2", model=str(checkpoint))
    before = vllm_processes()
    outcome = shardwright("launch", str(file), "--check", "--port", str(free_port()))
    print(f"\n{outcome.err}")
    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith(
        "shardwright: copy0-node0 (node 0, ranks 0, 1) ended with exit status 1 after "
    )
    assert "ValueError: Available memory on node 0" in outcome.err
    assert vllm_processes() <= before
    assert not list(Path("/dev/shm").glob("vllm_dist_*"))
