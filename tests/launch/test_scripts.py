"""The scripts as bash runs them, with stubs in the place of the engines that record what they are given."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shardwright.errors import InputError
from shardwright.launch.engines import engine_named
from shardwright.launch.launch import Launch
from shardwright.launch.make import launch_of
from shardwright.launch.write import write_launch
from tests.launch.inspect.replay import serving
from tests.launch.plans import cluster_of, model_named, plan_of

RECORDS = """#!/bin/sh
printf '%s\\0' "$0" "$@" > "$RECORD.$$"
mv "$RECORD.$$" "$RECORD/$$"
while [ "$(ls "$RECORD" | wc -l)" -lt "$COUNT" ]; do sleep 0.02; done
"""
"""It ends when all of its node have recorded: the first one that ends has the others stopped."""

STUBS = ("vllm", "python", "trtllm-serve", "srun", "mpirun")
QWEN = model_named("Qwen3-30B-A3B")
NASTY = (
    *("a b", "it's", 'say "x"', "$(touch PWNED)", "`touch PWNED`", "x; touch PWNED", "x & touch PWNED &"),
    *("x\ntouch PWNED", "x\n& touch PWNED\n", "x' ; touch PWNED ; '", 'x"; touch PWNED; "', "x | tee PWNED"),
    *("*", "~", "$HOME", "${PATH}", "\\", "a\\", "!x", "#x", "{a,b}", "%s %(nodes)d {title}", "é", "\t", " "),
    *("a=b", "env", "&", "x > PWNED", "\r\n", "x\x1b[31m", "'$(touch PWNED)'"),
)


def with_stubs(folder: Path, text: str = RECORDS) -> Mapping[str, str]:
    """The environment of a script in which every engine is a stub."""
    (folder / "bin").mkdir()
    (folder / "records").mkdir()
    for name in STUBS:
        stub = folder / "bin" / name
        stub.write_text(text)
        stub.chmod(0o755)
    path = f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    return {"PATH": path, "RECORD": str(folder / "records"), "COUNT": "1", "HEAD_NODE_ADDRESS": "10.0.0.1"}


def run(folder: Path, script: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(folder / "launch" / script)],
        env=dict(environment), cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def recorded(folder: Path) -> list[list[str]]:
    """argv of each stub that ran, the program by its name."""
    found = []
    for file in (folder / "records").iterdir():
        program, *words = file.read_bytes().decode().split("\0")[:-1]
        found.append([Path(program).name, *words])
        file.unlink()
    return sorted(found)


def meant(launch: Launch, folder: Path, node: int) -> list[list[str]]:
    """argv of the record of the launch, with what its words stand for."""
    own = {file.path: str(folder / "launch" / file.path) for file in launch.files}
    own["plan.json"] = str(folder / "launch" / "plan.json")
    return sorted(
        [own.get(word, word.replace("HEAD_NODE_ADDRESS", "10.0.0.1")) for word in process.argv]
        for process in launch.processes
        if process.node == node
    )


def check_runs_as_meant(launch: Launch, plan, folder: Path, environment: Mapping[str, str]) -> None:
    write_launch(launch, plan, folder / "launch")
    for node in range(launch.num_nodes):
        wanted = meant(launch, folder, node)
        outcome = run(folder, f"start-node{node}.sh", {**environment, "COUNT": str(len(wanted))})
        assert outcome.returncode == 0, outcome.stderr
        assert recorded(folder) == wanted
    assert not list(folder.rglob("PWNED"))


@pytest.mark.parametrize("name", NASTY)
def test_a_model_name_runs_nothing(name: str, tmp_path: Path) -> None:
    model = QWEN.model_copy(update={"name": name})
    for engine, layout, nodes in (
        ("vllm", "dp8/ep8", 1),
        ("sglang", "tp8.dp2/ep16", 2),
        ("trtllm", "dp4/ep4.x2", 1),
    ):
        plan = plan_of(model, layout, cluster_of("H200", nodes))
        (folder := tmp_path / engine).mkdir()
        check_runs_as_meant(launch_of(plan, engine_named(engine)), plan, folder, with_stubs(folder))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200)
)
def test_no_text_at_all_runs_anything(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if name.startswith("-"):
        return
    folder = tmp_path_factory.mktemp("any")
    plan = plan_of(QWEN.model_copy(update={"name": name}), "dp8/ep8")
    check_runs_as_meant(launch_of(plan, engine_named("vllm")), plan, folder, with_stubs(folder))


@pytest.mark.parametrize("name", ["a\0b", "x/HEAD_NODE_ADDRESS", "CHECKPOINT_FOLDER"])
def test_a_name_that_no_argument_can_hold_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"model\.name"):
        launch_of(plan_of(QWEN.model_copy(update={"name": name}), "dp8/ep8"), engine_named("vllm"))


def test_a_name_never_stands_as_an_option() -> None:
    with pytest.raises(ValueError, match="name"):
        type(QWEN).model_validate({**QWEN.model_dump(), "name": "--trust-remote-code"})


@pytest.mark.parametrize(
    "host", ["", "-x", "--port", "a b", "$(x)", "`x`", "a;b", "a\nb", "a'b", 'a"b', "a\0"]
)
def test_a_host_is_an_address(host: str) -> None:
    with pytest.raises(InputError, match="--host"):
        launch_of(plan_of("Qwen3-30B-A3B", "dp8/ep8"), engine_named("vllm"), host=host)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "torchrun"])
def test_one_node_scripts_run_as_recorded(engine: str, tmp_path: Path) -> None:
    environment = {**with_stubs(tmp_path), "CHECKPOINT_FOLDER": "CHECKPOINT_FOLDER"}
    plan = plan_of("Qwen3-30B-A3B", "dp4/ep4.x2")
    check_runs_as_meant(launch_of(plan, engine_named(engine)), plan, tmp_path, environment)


@pytest.mark.parametrize("variables", [{"SLURM_JOB_ID": "1"}, {"NODES": "a:8,b:8"}])
def test_an_mpi_world_is_started_by_what_is_there(variables: dict[str, str], tmp_path: Path) -> None:
    """16 ranks, 8 a node: from the first of the copy's two nodes on."""
    environment = {**with_stubs(tmp_path), **variables}
    plan = plan_of("DeepSeek-V3", "dp16/ep16.x2", cluster_of("H200", 4))
    launch = launch_of(plan, engine_named("trtllm"))
    write_launch(launch, plan, tmp_path / "launch")
    for copy in range(2):
        assert run(tmp_path, f"start-copy{copy}.sh", environment).returncode == 0
        (words,) = recorded(tmp_path)
        at = words.index("env")
        slurm = [
            "srun",
            "--nodes",
            "2",
            "--relative",
            str(2 * copy),
            "--ntasks",
            "16",
            "--ntasks-per-node",
            "8",
        ]
        by_hand = ["mpirun", "-np", "16", "--host", "a:8,b:8"]
        assert words[:at] == ([*slurm, "--mpi=pmix"] if "SLURM_JOB_ID" in variables else by_hand)
        assert words[at + 2 : at + 5] == ["trtllm-llmapi-launch", "trtllm-serve", "deepseek-ai/DeepSeek-V3"]
    assert "NODES" in run(tmp_path, "start-copy0.sh", with_nothing(environment)).stderr


def with_nothing(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in ("PATH", "RECORD", "COUNT")}


@pytest.mark.parametrize(
    ("engine", "variable"), [("vllm", "HEAD_NODE_ADDRESS"), ("torchrun", "CHECKPOINT_FOLDER")]
)
def test_a_script_says_what_it_lacks(engine: str, variable: str, tmp_path: Path) -> None:
    environment = {**with_stubs(tmp_path)}
    environment.pop(variable, None)
    plan = plan_of("Qwen3-30B-A3B", "dp16/ep16", cluster_of("H200", 2))
    write_launch(launch_of(plan, engine_named(engine)), plan, tmp_path / "launch")
    outcome = run(tmp_path, "start-node1.sh", environment)
    assert outcome.returncode != 0 and variable in outcome.stderr and recorded(tmp_path) == []


def test_processes_see_their_own_gpus_alone(tmp_path: Path) -> None:
    environment = with_stubs(tmp_path, RECORDS.replace('"$@"', '"$@" "$CUDA_VISIBLE_DEVICES"'))
    plan = plan_of("Qwen3-30B-A3B", "dp2/ep2.x4")
    write_launch(launch_of(plan, engine_named("vllm")), plan, tmp_path / "launch")
    assert run(tmp_path, "start-node0.sh", {**environment, "COUNT": "4"}).returncode == 0
    seen = {words[words.index("--port") + 1]: words[-1] for words in recorded(tmp_path)}
    assert seen == {"8000": "0,1", "8001": "2,3", "8002": "4,5", "8003": "6,7"}


def test_amd_has_a_variable_of_its_own() -> None:
    launch = launch_of(plan_of("Qwen3-30B-A3B", "dp2/ep2.x4", cluster_of("MI300X")), engine_named("vllm"))
    assert launch.processes[3].environment == {"HIP_VISIBLE_DEVICES": "6,7"}


SLEEPS = """#!/bin/sh
case "$*" in *8001*) sleep 0.3; exit 7;; esac
printf '%s\\0' "$0" > "$RECORD/$$"
exec sleep 100
"""


def test_all_stop_when_one_ends_and_its_status_is_told(tmp_path: Path) -> None:
    environment = with_stubs(tmp_path, SLEEPS)
    plan = plan_of("Qwen3-30B-A3B", "dp4/ep4.x2")
    write_launch(launch_of(plan, engine_named("vllm")), plan, tmp_path / "launch")
    assert run(tmp_path, "start-node0.sh", environment).returncode == 7
    assert_gone(tmp_path)


@pytest.mark.parametrize(
    ("until", "seconds", "status"), [(2, "30", 0), (10**9, "3", 1)], ids=["comes up", "never does"]
)
def test_a_node_is_ready_when_its_servers_answer(
    until: int, seconds: str, status: int, tmp_path: Path
) -> None:
    """503 until then; of a proxy that the node names, where nobody listens, nothing is asked."""
    asked: list[float] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(time.monotonic())
        handler.send_response(503 if len(asked) < until else 200)
        handler.end_headers()

    with serving({"health": answer}) as url:
        port = int(url.rpartition(":")[2])
        plan = plan_of("Qwen3-30B-A3B", "dp8/ep8")
        launch = launch_of(plan, engine_named("vllm"), host="0.0.0.0", port=port)
        write_launch(launch, plan, tmp_path / "launch")
        proxy = dict.fromkeys(("http_proxy", "all_proxy"), "http://127.0.0.1:9")
        path = "/usr/local/bin:/usr/bin:/bin"
        ended = run(tmp_path, "ready-node0.sh", {"PATH": path, "WAIT_SECONDS": seconds, **proxy})
    assert ended.returncode == status
    assert len(asked) >= 2
    assert ended.stderr == ("" if status == 0 else f"{url}/health does not answer\n")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_all(number: int, status: int, tmp_path: Path) -> None:
    environment = with_stubs(tmp_path, SLEEPS.replace("8001", "nothing"))
    plan = plan_of("Qwen3-30B-A3B", "dp4/ep4.x2")
    write_launch(launch_of(plan, engine_named("vllm")), plan, tmp_path / "launch")
    script = subprocess.Popen(["bash", str(tmp_path / "launch" / "start-node0.sh")], env=dict(environment))
    deadline = time.monotonic() + 20
    while len(list((tmp_path / "records").iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    script.send_signal(number)
    assert script.wait(timeout=20) == status
    assert_gone(tmp_path)


def assert_gone(folder: Path) -> None:
    pids = [int(file.name) for file in (folder / "records").iterdir()]
    assert pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_afd_configuration_is_json_of_both_roles() -> None:
    plan = plan_of("DeepSeek-V2-Lite", "tp2.dp2+ep2.x2", cluster_of("H200", 2, 8))
    launch = launch_of(plan, engine_named("afd"))
    assert [process.ranks for process in launch.processes] == [(0, 1), (2, 3, 4, 5)] * 2
    assert [process.gpus for process in launch.processes] == [(0, 1), (2, 3, 4, 5)] * 2
    assert [process.node for process in launch.processes] == [0, 0, 1, 1]
    for process in launch.processes:
        config = json.loads(process.argv[process.argv.index("--additional-config") + 1])["afd"]
        assert config["role"] == process.name.partition("-")[2]
        assert (config["num_attention_ranks"], config["num_ffn_ranks"]) == (4, 2)
        assert config["host"] == "127.0.0.1" and "--enable-expert-parallel" in process.argv
        assert (process.port is not None) == (config["role"] == "attention")
