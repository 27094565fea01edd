"""Text to the words of a command: lines, scripts, containers, files that a script writes; nothing is run."""

from pathlib import Path

import pytest

from shardwright.engine.commands.catalog import SERVERS
from shardwright.engine.commands.script import Invocation, find_invocation
from shardwright.errors import InputError


def found(text: str, folder: Path = Path()) -> Invocation:
    return find_invocation(text, SERVERS, folder)


@pytest.mark.parametrize(
    ("text", "engine", "words"),
    [
        ("vllm serve M -tp 2", "vllm", ("M", "-tp", "2")),
        ("/opt/venv/bin/vllm serve M", "vllm", ("M",)),
        ("python -m vllm.entrypoints.openai.api_server --model M", "vllm", ("--model", "M")),
        ("/usr/bin/python3.11 -m sglang.launch_server --model-path M", "sglang", ("--model-path", "M")),
        ("sglang serve M --tp 2", "sglang", ("M", "--tp", "2")),
        ("trtllm-serve M --tp_size 4", "trtllm", ("M", "--tp_size", "4")),
        ("trtllm-serve serve M", "trtllm", ("M",)),
        ("A=1 B='x y' vllm serve M", "vllm", ("M",)),
        ("env A=1 vllm serve M", "vllm", ("M",)),
        ("nohup vllm serve M > log.txt 2>&1 &", "vllm", ("M",)),
        ("vllm serve M -tp 8 2> errors.txt", "vllm", ("M", "-tp", "8")),
        ("cd /srv && vllm serve M -tp 2; echo done", "vllm", ("M", "-tp", "2")),
        ("vllm serve M \\\n  -tp 2 \\\n  -dp 4", "vllm", ("M", "-tp", "2", "-dp", "4")),
        ("vllm serve M \\   # the model\n  -tp 2 \\  # two\n  -dp 4", "vllm", ("M", "-tp", "2", "-dp", "4")),
        ("# a comment\nvllm serve M # another\npython bench.py --tp 8", "vllm", ("M",)),
        ("vllm bench serve --model M\nvllm serve N", "vllm", ("N",)),
        ("vllm serve M\nsglang serve N", "vllm", ("M",)),
        ("docker run --gpus all -p 8000:8000 vllm/vllm-openai:v0.12.0 --model M", "vllm", ("--model", "M")),
        ("docker run docker.io/vllm/vllm-openai@sha256:ab M", "vllm", ("M",)),
        (
            "docker run lmsysorg/sglang:latest python3 -m sglang.launch_server --model M",
            "sglang",
            ("--model", "M"),
        ),
        (
            'srun -N 2 bash -c "trtllm-llmapi-launch trtllm-serve M --tp_size 16"',
            "trtllm",
            ("M", "--tp_size", "16"),
        ),
        ("M=Qwen/Qwen3-8B\nTP=4\nvllm serve $M -tp ${TP}", "vllm", ("Qwen/Qwen3-8B", "-tp", "4")),
        ("export A=1 M=X\nvllm serve $M", "vllm", ("X",)),
        (
            "vllm serve M --eplb-config '{\n \"a\": 1\n}' -tp 2",
            "vllm",
            ("M", "--eplb-config", '{\n "a": 1\n}', "-tp", "2"),
        ),
        ("if true; then\n  vllm serve M\nfi", "vllm", ("M",)),
    ],
)
def test_words_of_the_first_command(text: str, engine: str, words: tuple[str, ...]) -> None:
    invocation = found(text)
    assert (invocation.server.engine, invocation.words) == (engine, words)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vllm",
        "vllm bench serve",
        "python -m http.server",
        "serve M",
        "-m sglang.launch_server",
        "echo hi",
    ],
)
def test_no_command_is_named_with_what_is_looked_for(text: str) -> None:
    with pytest.raises(
        InputError, match="a command that starts a server: vllm serve, sglang serve, trtllm-serve"
    ):
        found(text)


def test_variables_that_double_without_end() -> None:
    lines = ["A=aaaaaaaaaa", *["A=$A$A"] * 60, "vllm serve $A"]
    with pytest.raises(InputError, match="variables that fill in to at most"):
        found("\n".join(lines))


def test_open_quote() -> None:
    with pytest.raises(InputError, match="quotes that close"):
        found("vllm serve 'M")


def test_variables_before_the_command_and_in_the_container() -> None:
    assert found("VLLM_PP_LAYER_PARTITION=9,7 vllm serve M").variables == {"VLLM_PP_LAYER_PARTITION": "9,7"}
    inside = found("docker run -e A=1 --env B=2 vllm/vllm-openai --model M")
    assert inside.variables == {"A": "1", "B": "2"}


def test_files_that_the_script_writes() -> None:
    for head in (
        "cat <<EOF > c.yaml",
        "cat > c.yaml <<EOF",
        "cat << 'EOF' > c.yaml",
        "F=c.yaml\ncat <<EOF > ${F}",
    ):
        invocation = found(f"{head}\na: 1\nb: 2\nEOF\ntrtllm-serve M --config ./c.yaml")
        assert invocation.file("--config", "./c.yaml") == "a: 1\nb: 2\n"
        assert invocation.words == ("M", "--config", "./c.yaml")


def test_files_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("a: 1\n")
    invocation = found("trtllm-serve M --config c.yaml", tmp_path)
    assert invocation.file("--config", "c.yaml") == "a: 1\n"
    for name in ("missing.yaml", ".", "/dev/zero", "\0"):
        with pytest.raises(InputError, match="--config"):
            invocation.file("--config", name)


def test_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for trap in ("$(touch x)", "`touch x`", "; touch x", "| touch x", "&& touch x", "> x"):
        found(f"vllm serve M {trap}")
    assert not list(tmp_path.iterdir())
