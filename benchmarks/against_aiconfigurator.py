"""CPU time of `shardwright plan` beside that of aiconfigurator 0.12, on one model, the same GPUs and targets.

aiconfigurator gets an environment of its own, made here on the first run. Both are processes of their own,
the figures are the operating system's: user and system seconds. Ours runs before and after, since a machine's
pace changes. Prints; asserts nothing.
"""

import os
import statistics
import subprocess
import sys
import venv

from processes import ROOT, run

VERSION = "0.12.*"
ENVIRONMENT = ROOT / ".venv-aiconfigurator"
THEIR_COMMAND = ENVIRONMENT / "bin" / "aiconfigurator"

RUNS = 5
"""Of ours, before and after theirs."""

GPUS, INPUT_TOKENS, OUTPUT_TOKENS = 8, 1024, 512
TTFT_MS, TPOT_MS = 2000, 50

OURS = [
    *["plan", "--model", "Qwen3-30B-A3B", "--gpu", "H200-SXM-141GB", "--gpus", str(GPUS), "--engine", "vllm"],
    *["--input-tokens", str(INPUT_TOKENS), "--output-tokens", str(OUTPUT_TOKENS)],
    *["--ttft-ms", str(TTFT_MS), "--tpot-ms", str(TPOT_MS)],
]

THEIRS = [
    *["cli", "default", "--model-path", "Qwen/Qwen3-30B-A3B", "--system", "h200_sxm", "--backend", "vllm"],
    *["--total-gpus", str(GPUS), "--isl", str(INPUT_TOKENS), "--osl", str(OUTPUT_TOKENS)],
    *["--ttft", str(TTFT_MS), "--tpot", str(TPOT_MS)],
]


ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""Of the libraries of both: idle threads that wait in a loop are no work."""


def install() -> None:
    """The environment, where it is not there yet."""
    if THEIR_COMMAND.exists():
        return
    venv.create(ENVIRONMENT, with_pip=True)
    pip = [ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"aiconfigurator=={VERSION}"], check=True)


def our_seconds() -> list[float]:
    """CPU seconds of each run."""
    command = [sys.executable, "-m", "shardwright.cli.main", *OURS]
    return [run(command, ONE_THREAD).cpu_s for _ in range(RUNS)]


def main() -> None:
    """Print both, and the ratio."""
    install()
    our_seconds()  # the first run compiles the modules
    before = our_seconds()
    theirs = run([THEIR_COMMAND, *THEIRS], ONE_THREAD)
    ours = [*before, *our_seconds()]
    median = statistics.median(ours)
    print(f"Qwen3-30B-A3B on {GPUS} H200, vLLM, {INPUT_TOKENS} tokens in, {OUTPUT_TOKENS} out")
    print(f"targets: TTFT {TTFT_MS} ms, TPOT {TPOT_MS} ms; CPU seconds of the whole process\n")
    print(f"aiconfigurator {VERSION}  {theirs.cpu_s:8.2f}")
    print(f"shardwright            {median:8.2f}   {min(ours):.2f} to {max(ours):.2f} in {len(ours)} runs")
    print(f"ratio                  {theirs.cpu_s / median:8.0f} x")


if __name__ == "__main__":
    main()
