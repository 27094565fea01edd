"""The serving profile that is shipped, fitted anew to measured rows, and its errors on what it never saw.

python benchmarks/serving_profile.py [ROWS.csv.gz] [-o src/shardwright/cost/software.yaml]

Prints tables as markdown (docs/accuracy.md), writes the profile where -o says. 15 minutes on a quiet core.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from shardwright.calibrate.measured.bench import Bench, benches
from shardwright.calibrate.measured.case import Case, case_of
from shardwright.calibrate.measured.configuration import METRICS, Configuration, configurations
from shardwright.calibrate.measured.doubts import doubts_of
from shardwright.calibrate.measured.fit import fit_serving, log_errors
from shardwright.calibrate.measured.left_out import (
    LEFT_OUT,
    Group,
    balanced,
    coverage,
    device,
    engine,
    family,
    left_out_errors,
    spreads_of,
    told_by,
)
from shardwright.calibrate.measured.row import read_rows
from shardwright.cost.software import Distance, Pace, ServingProfile, Software
from shardwright.serving.times import Floats

ROWS = Path(__file__).parent / "data" / "measured_serving.csv.gz"
MOST_A_GROUP = 40
"""Configurations of one source, model, device and engine that are fitted to, evenly spaced among all."""
MOST_OFFLINE = 15
"""Of runs without clients: static batches and saturated runs, most of them of 2024."""

WIDTH = 0.5
"""Of the priors: models left out are predicted a little better with it than with 1 or 0.3."""

ENGINES = (
    ("vllm", "2026", "2025-03", "0.8", "vLLM V1 (0.8 and later)", True),
    ("vllm", "2024", "", "", "vLLM V0 (2024)", False),
    ("sglang", "2026", "", "", "SGLang (0.5)", True),
    ("trtllm", "2026", "2025-07", "1.0", "TensorRT-LLM with PyTorch (1.0 and later)", True),
    ("trtllm", "2024", "", "", "TensorRT-LLM with engines (to 0.20)", False),
    ("atom", "2026", "", "", "ATOM", True),
    ("deepspeed-mii", "2024", "", "", "DeepSpeed-MII", False),
)
"""Engine, generation of kernels, first date, first version, title, whether its host works while the devices
do; the newest of each first. Hosts: vLLM 0.33, config/scheduler.py (async_scheduling); SGLang 0.5.23,
managers/scheduler.py (event_loop_overlap); TensorRT-LLM 1.2, llmapi/llm_args.py (disable_overlap_scheduler);
ATOM is taken to do as vLLM."""

HOST = {
    "step_us": 1000.0,
    "sequence_us": 20.0,
    "layer_us": 5.0,
    "prefill_us": 1000.0,
    "least_prefill_layer_us": 700.0,
    "api_us": 10000.0,
    "api_token_us": 2.0,
}
PACE = {"decode": 0.87, "prefill": 1.1}
"""What is believed before any row is seen: the size of things, of an engine in Python on a busy host."""


def main() -> None:
    """Fit, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="?", type=Path, default=ROWS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    rows = sound_rows(options.rows)
    believed = neutral(rows)
    every = configurations(rows, believed)
    few = thinned(every)
    print(f"fitting to {len(few)} configurations", file=sys.stderr)
    fit = fit_serving(few, believed, width=WIDTH, say=lambda text: print(text, file=sys.stderr))
    everyone = [True] * len(few)
    profile = told_by(few, fit, fit.profile, everyone)
    errors = {distance: left_out_errors(few, fit, group, every) for distance, group in LEFT_OUT.items()}
    spreads = spreads_of(errors, balanced(every))
    profile = profile.model_copy(update={"spreads": spreads})
    if options.output is not None:
        options.output.write_text(as_yaml(profile), encoding="utf-8")
    report(every, log_errors(every, profile), errors)


def sound_rows(path: Path) -> list[Bench]:
    """The rows that can be predicted and that no rule doubts."""
    cases = [case for case in map(case_of, read_rows(path)) if isinstance(case, Case) and not doubts_of(case)]
    return [bench for bench in benches(cases) if isinstance(bench, Bench)]


def neutral(rows: Sequence[Bench]) -> ServingProfile:
    """What is believed of every engine and every device of the rows."""
    software = tuple(
        Software(
            engine=name,
            generation=made,
            since=since,
            from_version=version,
            title=title,
            overlaps=overlaps,
            rows=0,
            **HOST,
        )
        for name, made, since, version, title, overlaps in ENGINES
    )
    devices = dict.fromkeys(bench.case.cluster.device.name for bench in rows)
    paces = tuple(
        Pace(device=name, generation=generation, rows=0, **PACE)
        for name in devices
        for generation in ("2026", "2024")
    )
    return ServingProfile(
        source="public serving measurements (benchmarks/data)",
        date=datetime.now(tz=UTC).date().isoformat(),
        software=software,
        paces=paces,
    )


def thinned(rows: Sequence[Configuration], most: int = MOST_A_GROUP) -> list[Configuration]:
    """At most so many of each source, model, device and engine, and MOST_OFFLINE of runs without clients."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, row in enumerate(rows):
        measured = row.bench.case.row
        key = (measured.source, measured.mode, family(row), device(row), engine(row))
        groups.setdefault(key, []).append(index)
    kept = [
        members[place]
        for key, members in groups.items()
        for place in spaced(len(members), most if key[1] == "agg" else min(most, MOST_OFFLINE))
    ]
    return [rows[index] for index in sorted(kept)]


def spaced(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` places, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def report(rows: Sequence[Configuration], fitted: Floats, errors: Mapping[Distance, Floats]) -> None:
    """Tables of errors of all configurations, by what was left out."""
    agg = np.array([row.bench.case.row.mode == "agg" for row in rows])
    print("| | configurations | TPOT | TTFT | throughput | static batch |\n|---|---:|---:|---:|---:|---:|")
    for name, table in (("fitted", fitted), *((f"{out} left out", t) for out, t in errors.items())):
        line(f"{name}, aggregated", table[agg])
        line(f"{name}, all", table)
    held: tuple[tuple[Distance, Group], ...] = (("model", family), ("device", device), ("engine", engine))
    for out, by in held:
        print(f"\n### Each {out} left out\n")
        print(
            "| | configurations | TPOT | TTFT | throughput | static batch |\n|---|---:|---:|---:|---:|---:|"
        )
        names = np.array([by(row) for row in rows])
        for name in np.unique(names):
            line(str(name), errors[out][names == name])
    print(
        "\n### Share of rows inside the 90 % interval, of models left out, by the intervals of the others\n"
    )
    print("| | configurations | TPOT | TTFT | throughput | static batch |\n|---|---:|---:|---:|---:|---:|")
    for title, by in (("all", lambda row: "all"), ("", device), ("", engine)):
        names = np.array([by(row) for row in rows])
        inside = coverage(rows, errors["model"])
        for name in np.unique(names):
            mine = inside[names == name]
            shares = " | ".join(share(mine[:, METRICS.index(m)]) for m in METRICS)
            print(f"| {title or name} | {len(mine)} | {shares} |")


def line(title: str, table: Floats) -> None:
    """One row of a table of errors."""
    print(f"| {title} | {len(table)} | " + " | ".join(cell(table[:, column]) for column in range(4)) + " |")


def cell(errors: Floats) -> str:
    """Median / p90 of |predicted / measured - 1|, and the median of predicted / measured."""
    told = errors[~np.isnan(errors)]
    if not len(told):
        return ""
    off = np.abs(np.expm1(told))
    return f"{np.median(off):.1%} / {np.percentile(off, 90):.0%} ({np.exp(np.median(told)):.2f})"


def share(inside: Floats) -> str:
    """Of those that were measured."""
    told = inside[~np.isnan(inside)]
    return f"{told.mean():.0%}" if len(told) else ""


def as_yaml(profile: ServingProfile) -> str:
    """The profile as it is shipped: a line a row, four digits a number."""
    head = "# Fitted by benchmarks/serving_profile.py. cost/software.py says what the fields mean.\n"
    values = profile.model_dump(exclude_defaults=True)
    text = head + yaml.safe_dump({name: values[name] for name in ("source", "date")}, sort_keys=False)
    for name in ("software", "paces", "spreads"):
        text += f"{name}:\n"
        for row in values[name]:
            short = {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()}
            text += (
                "  - "
                + yaml.safe_dump(short, default_flow_style=True, sort_keys=False, width=1000).strip()
                + "\n"
            )
    return text


if __name__ == "__main__":
    main()
