"""shardwright calibrate --device: a real machine in seconds; no file where something is missing."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import shardwright as shardwright_package
from shardwright.cost.profile import profile_file
from tests.cli.run import shardwright

QUICK = ("calibrate", "--device", "cpu", "--minutes", "0.03")


def test_this_machine_is_measured_and_its_profile_can_be_read(tmp_path: Path) -> None:
    out, rows = tmp_path / "deep" / "own.json", tmp_path / "rows.csv"
    done = shardwright(*QUICK, "--processes", "2", "-o", str(out), "--rows", str(rows), "--json")
    assert done.status == 0, done.err
    profile = profile_file(out)
    assert profile.hardware is not None
    assert profile.hardware.name == profile.device
    assert profile.hardware.peak_flops["bf16"] > 1e9
    assert profile.scale_up is not None
    assert "torch" in profile.source
    assert os.uname().nodename not in out.read_text()
    assert {law.kernels for law in (*profile.gemm, *profile.small)} == {"torch"}
    found = json.loads(done.out)["outcomes"]
    assert {outcome["device"] for outcome in found} == {profile.device}
    assert sum(law.rows for law in profile.gemm) == rows.read_text().count("\ngemm,")
    says, command = done.err.splitlines()[-1].split(": ")
    assert says == "plan with it"
    words = ["Qwen3-0.6B" if word == "MODEL" else word for word in shlex.split(command)]
    assert words[words.index("--gpu") + 1] == profile.device
    planned = shardwright(*words[1:], "--json")
    assert planned.status == 0, planned.err
    assert json.loads(planned.out)["deployment"]["cluster"]["device"]["name"] == profile.device


def test_people_read_a_table() -> None:
    done = shardwright(*QUICK, "--processes", "1", "--dtype", "fp32")
    assert done.status == 0, done.err
    assert "gemm" in done.out and "fp32" in done.out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--device", "cuda"), 3, "torch finds no GPU"),
        (("--device", "cpu", "--minutes", "0"), 2, "--minutes: 0.0 is not allowed"),
        (("--device", "cpu", "--processes", "0"), 2, "--processes: 0 is not allowed"),
        (("--device", "cpu", "--processes", "33"), 2, "--processes: 33 is not allowed"),
        (("--device", "cpu", "--gpu", "H100"), 2, "nothing beside --device"),
        (("--from", ".", "--minutes", "1"), 2, "nothing beside --from"),
        (("--from", ".", "--device", "cpu"), 2, "either tables (--from DIR) or this machine"),
        ((), 2, "either tables (--from DIR) or this machine"),
    ],
)
def test_one_message_and_no_file(
    arguments: tuple[str, ...], status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = shardwright("calibrate", *arguments, "-o", str(tmp_path / "own.json"))
    assert (done.status, done.out) == (status, "")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["torch", "scipy"])
def test_a_missing_package_is_named_before_anything_is_measured(missing: str, tmp_path: Path) -> None:
    program = (
        f"import sys; sys.modules['{missing}'] = None; from shardwright.cli.main import main; "
        f"main(['calibrate', '--device', 'cpu', '-o', 'own.json'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(shardwright_package.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "calibrate --device needs torch and scipy: pip install 'shardwright[run,calibrate]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shardwright.run.measure.whole.measure_collectives", interrupted)
    done = shardwright(*QUICK, "--processes", "2", "-o", str(tmp_path / "own.json"))
    assert (done.status, done.out) == (130, "")
    assert list(tmp_path.iterdir()) == []


def test_a_lost_process_is_one_message_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of rank 1 is killed as soon as it works."""
    from shardwright.run.pool import Pool  # noqa: PLC0415 - torch takes seconds

    listen = Pool._listen

    def struck(self: Pool, ranks: list, told: object) -> None:
        os.kill(self.pids[1], 9)
        listen(self, ranks, told)  # type: ignore[arg-type]

    monkeypatch.setattr(Pool, "_listen", struck)
    done = shardwright(*QUICK, "--processes", "2", "-o", str(tmp_path / "own.json"))
    assert done.status == 1
    assert "rank 1 (one of 2 that measure collectives)" in done.err
    assert list(tmp_path.iterdir()) == []
