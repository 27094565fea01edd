"""shardwright calibrate --from: a profile a device, whole or not at all, and the errors of its laws."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from shardwright.cli.calibrate import command
from shardwright.cost.profile import Profile
from shardwright.errors import InputError
from tests.calibrate.samples import write_gemm


def run(*arguments: str) -> str:
    return CliRunner().invoke(command, arguments, catch_exceptions=False).output


def test_a_profile_is_written_for_each_gpu(tmp_path: Path) -> None:
    write_gemm(tmp_path / "tables")
    write_gemm(tmp_path / "tables", gpu="a100_sxm", noise=0.05)
    out = tmp_path / "profiles"
    text = run("--from", str(tmp_path / "tables"), "--source", "mine", "--date", "2026-11", "-o", str(out))
    assert sorted(file.name for file in out.iterdir()) == ["A100-SXM-80GB.json", "H100-SXM-80GB.json"]
    profile = Profile.model_validate_json((out / "H100-SXM-80GB.json").read_text())
    assert (profile.device, profile.source, profile.date) == ("H100-SXM-80GB", "mine", "2026-11")
    assert profile.gemm[0].ec == pytest.approx(0.7, rel=0.01)
    assert "A100-SXM-80GB: gemm, vllm 1.0 known bf16" in text


def test_json_has_every_outcome(tmp_path: Path) -> None:
    write_gemm(tmp_path)
    result = CliRunner().invoke(command, ["--from", str(tmp_path), "--json"], catch_exceptions=False)
    (outcome,) = json.loads(result.stdout)["outcomes"]
    assert outcome["device"] == "H100-SXM-80GB"
    assert outcome["score"]["median"] < 0.01


def test_only_the_gpu_that_is_asked_for(tmp_path: Path) -> None:
    write_gemm(tmp_path)
    assert "vllm" not in run("--from", str(tmp_path), "--gpu", "L40S-48GB")
    with pytest.raises(InputError, match="--gpu"):
        run("--from", str(tmp_path), "--gpu", "H1000")


def test_a_carried_profile_is_held_against_the_tables(tmp_path: Path) -> None:
    """These rows are H100's by the test's own law: H100's shipped law is near, not equal."""
    write_gemm(tmp_path)
    result = CliRunner().invoke(
        command, ["--from", str(tmp_path), "--carry", "H100-SXM-80GB", "--json"], catch_exceptions=False
    )
    (outcome,) = json.loads(result.stdout)["outcomes"]
    assert outcome["score"]["rows"] == outcome["rows"] == 15 * 81
    assert 0.01 < outcome["score"]["median"] < 0.3
    with pytest.raises(InputError, match="--carry: 'H20-SXM-96GB' is not allowed; expected a device with a"):
        run("--from", str(tmp_path), "--carry", "H20-SXM-96GB")
