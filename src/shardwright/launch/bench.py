"""A server measured by its engine's own client, `vllm bench serve`: a load, its command, its result."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shardwright.errors import InputError
from shardwright.launch.log import last_words
from shardwright.launch.needs import program_of
from shardwright.launch.processes import end_sessions
from shardwright.launch.start import STOPPING, EngineFailedError, interrupted_by
from shardwright.record import Record, validated
from shardwright.serving.requests import Lengths
from shardwright.serving.simulation import Load

PERCENTILES = (50, 90, 99)

EXACTLY = 1e-9
"""Less than a token of any length: the client rounds its ends outwards."""


def middle(lengths: Lengths) -> int:
    """The tokens around which they are drawn."""
    return (lengths.low + lengths.high) // 2


def spread_of(lengths: Lengths) -> float:
    """The share of them by which they are drawn to either side."""
    return (lengths.high - middle(lengths)) / middle(lengths)


def _ratios(load: Load) -> str | None:
    sides = {"input": load.input_tokens, "output": load.output_tokens}
    ratios = {side: max(0.0, spread_of(lengths) - EXACTLY) for side, lengths in sides.items()}
    return json.dumps(ratios) if any(ratios.values()) else None


FLAGS: tuple[tuple[str, Callable[[Load], object]], ...] = (
    ("--num-prompts", lambda load: load.num_requests),
    ("--random-input-len", lambda load: middle(load.input_tokens)),
    ("--random-output-len", lambda load: middle(load.output_tokens)),
    ("--random-range-ratio", _ratios),
    ("--max-concurrency", lambda load: load.concurrency if load.kind == "closed" else None),
    ("--request-rate", lambda load: load.rate_per_s if load.kind == "open" else None),
    ("--burstiness", lambda load: load.burstiness if load.kind == "open" else None),
    ("--seed", lambda load: load.seed),
)
"""What a load sets; None leaves a flag out. Source: vLLM 0.32.0, benchmarks/serve.py:1631-1719 (without a
rate all requests are sent as --max-concurrency lets them), benchmarks/datasets/datasets.py:1886-1919,
benchmarks/datasets/utils.py:70-97 (lengths are drawn evenly around those that are stated)."""

FIXED = (
    ("--backend", "openai"),
    ("--endpoint", "/v1/completions"),
    ("--dataset-name", "random"),
    ("--percentile-metrics", "ttft,tpot,itl,e2el"),
    ("--metric-percentiles", ",".join(map(str, PERCENTILES))),
)
"""vLLM 0.32.0, benchmarks/serve.py:1600-1821."""

SWITCHES = ("--ignore-eos", "--disable-tqdm", "--save-result")

GRACE_S = 5.0


class Times(Record):
    """Of one figure over all requests, in seconds."""

    mean: float
    median: float
    p90: float
    p99: float


class Measured(Record):
    """What the client measured. A measurement.

    input_tokens, output_tokens: of all requests together. tpot_s: of what follows the first token.
    """

    completed: int
    failed: int
    duration_s: float
    input_tokens: int
    output_tokens: int
    output_tokens_per_s: float
    requests_per_s: float
    ttft_s: Times
    tpot_s: Times
    itl_s: Times
    e2e_s: Times


def client_words(load: Load, *, url: str, model: str, served: str, result: Path) -> list[str]:
    """The client's command. model: whose tokenizer makes the prompts; served: its name at the server.

    The load is a closed or an open loop.
    """
    assert load.kind != "static"
    words = ["vllm", "bench", "serve", "--base-url", url, "--model", model, "--served-model-name", served]
    for flag, value in FIXED:
        words += [flag, value]
    for name, of in FLAGS:
        if (stated := of(load)) is not None:
            words += [name, str(stated)]
    return [*words, *SWITCHES, "--result-dir", str(result.parent), "--result-filename", result.name]


def without_proxy(environment: Mapping[str, str], url: str) -> dict[str, str]:
    """The environment, and that the server is asked by no proxy that it names: the client would take it for
    this machine's servers, too."""
    host = urlsplit(url).hostname or ""
    names = {name: [environment.get(name, ""), host] for name in ("no_proxy", "NO_PROXY")}
    return {**environment, **{name: ",".join(filter(None, hosts)) for name, hosts in names.items()}}


def run_client(
    load: Load, *, url: str, model: str, served: str, environment: Mapping[str, str]
) -> tuple[Measured, list[str]]:
    """What the client measured, and its command.

    Raises EnvironmentLacksError where it is not installed; EngineFailedError where it fails, or one request
    of its did. Nothing of it is left running.
    """
    program = program_of("vllm", environment)
    with tempfile.TemporaryDirectory() as scratch:
        result, log = Path(scratch) / "result.json", Path(scratch) / "client.log"
        words = client_words(load, url=url, model=model, served=served, result=result)
        began_s = time.time()
        with interrupted_by(STOPPING), log.open("wb") as output:
            client = subprocess.Popen(
                [program, *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=without_proxy(environment, url),
                cwd=scratch,
                start_new_session=True,
            )
            try:
                status = client.wait()
            finally:
                end_sessions([client], GRACE_S, began_s)
        said = last_words(log.read_bytes().decode(errors="replace"))
        if status or not result.exists():
            raise EngineFailedError(
                f"vllm bench serve ended with exit status {status}; its last lines:\n{said}"
            )
        written: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    found = read_result(written)
    if found.failed or found.completed < load.num_requests:
        lost = load.num_requests - found.completed
        raise EngineFailedError(
            f"{lost} of {load.num_requests} requests failed: nothing is kept of the run; the client's last "
            f"lines:\n{said}"
        )
    return found, words


def read_result(written: Mapping[str, Any]) -> Measured:
    """The client's result file (vLLM 0.32.0, benchmarks/serve.py:1280-1390). Raises InputError."""

    def times(name: str) -> dict[str, float]:
        found = {"mean": f"mean_{name}_ms", "median": f"median_{name}_ms"}
        found |= {f"p{share}": f"p{share}_{name}_ms" for share in PERCENTILES[1:]}
        return {part: written[field] * 1e-3 for part, field in found.items()}

    try:
        values = {
            "completed": written["completed"],
            "failed": written["failed"],
            "duration_s": written["duration"],
            "input_tokens": written["total_input_tokens"],
            "output_tokens": written["total_output_tokens"],
            "output_tokens_per_s": written["output_throughput"],
            "requests_per_s": written["request_throughput"],
            **{f"{of}_s": times(name) for of, name in CLIENTS.items()},
        }
    except (KeyError, TypeError) as error:
        raise InputError("result", str(error), "a result of `vllm bench serve --save-result`") from None
    return validated(Measured, values, field="result")


CLIENTS = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2e": "e2el"}
"""Our name of a figure -> the client's."""
