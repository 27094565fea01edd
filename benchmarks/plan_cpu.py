"""Whole-process CPU time of the two plans of the demo, and of larger ones. Prints; asserts nothing.

Each command is run `RUNS` times after one warm-up; the figures are the operating system's (user + system
of the finished child), the median first.
"""

import statistics
import sys

from processes import run

RUNS = 5

COMMANDS = {
    "plan examples/reference.yaml --best": ["plan", "examples/reference.yaml", "--best", "--json"],
    "plan examples/qwen3-30b-a3b.yaml": ["plan", "examples/qwen3-30b-a3b.yaml", "--json"],
    "Qwen3-30B-A3B on 8 H200": ["plan", "--model", "Qwen3-30B-A3B", "--gpu", "H200-SXM-141GB", "--gpus", "8"],
    "Qwen3-30B-A3B on 8 H200, as JSON": [
        *["plan", "--model", "Qwen3-30B-A3B", "--gpu", "H200-SXM-141GB", "--gpus", "8"],
        "--json",
    ],
    "Qwen3-30B-A3B on 2,048 H200, batch 4096": [
        *["plan", "--model", "Qwen3-30B-A3B", "--gpu", "H200-SXM-141GB", "--gpus", "2048"],
        *["--batch", "4096"],
    ],
}


def cpu_seconds(arguments: list[str]) -> float:
    """User and system seconds of one run of the command line."""
    return run([sys.executable, "-m", "shardwright.cli.main", *arguments]).cpu_s


def main() -> None:
    """Print one row a command."""
    print(f"{'command':<42} {'median':>8} {'min':>8} {'max':>8}   CPU s, {RUNS} runs")
    for name, arguments in COMMANDS.items():
        cpu_seconds(arguments)
        found = [cpu_seconds(arguments) for _ in range(RUNS)]
        print(f"{name:<42} {statistics.median(found):8.2f} {min(found):8.2f} {max(found):8.2f}")


if __name__ == "__main__":
    main()
