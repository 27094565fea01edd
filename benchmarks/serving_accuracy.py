"""What each term of a serving profile buys, what a few rows of one's own do, and which layout is faster.

python benchmarks/serving_accuracy.py [ROWS.csv.gz] [--ablation] [--own] [--ranking]; all without a flag

Aggregated rows, at most MOST_A_GROUP configurations of one source, model, device and engine. Each line of the
ablation is a fit of its own, its errors those of models left out. Prints tables as markdown
(docs/accuracy.md). Five minutes for ranking and own rows, 15 for the ablation, on a quiet core.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from pathlib import Path

import numpy as np
from serving_profile import HOST, PACE, ROWS, WIDTH, cell, neutral, sound_rows, thinned

from shardwright.calibrate.measured.configuration import METRICS, Configuration, configurations
from shardwright.calibrate.measured.fit import Fit, fit_serving, log_errors, refitted
from shardwright.calibrate.measured.left_out import device, engine, family, left_out_errors, told_by
from shardwright.calibrate.measured.own import own_fit
from shardwright.cost.software import ServingProfile
from shardwright.serving.times import Floats

MOST_A_GROUP = 20
TERMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("operators alone", ()),
    ("+ time of a step", ("step_us",)),
    ("+ of each sequence", ("sequence_us",)),
    ("+ of each layer", ("layer_us",)),
    ("+ of a step with prompts, its floor by layers", ("prefill_us", "least_prefill_layer_us")),
    ("+ front end: a request, a token", ("api_us", "api_token_us")),
    ("+ pace of the device", ("decode", "prefill")),
)
"""Terms in the order in which they are added, with their fields."""

OWN = (3, 10)
"""Rows of one's own that are fitted to."""

RESAMPLES = 2000
CLOSE_DAYS = 31


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="?", type=Path, default=ROWS)
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--own", action="store_true")
    parser.add_argument("--ranking", action="store_true")
    options = parser.parse_args()
    every = not (options.ablation or options.own or options.ranking)
    benches = [bench for bench in sound_rows(options.rows) if bench.case.row.mode == "agg"]
    believed = neutral(benches)
    rows = configurations(benches, believed)
    few = thinned(rows, MOST_A_GROUP)
    if every or options.own or options.ranking:
        fit = fit_serving(few, believed, width=WIDTH)
        if every or options.ranking:
            ranking(rows, left_out_errors(few, fit, family, rows))
        if every or options.own:
            own_rows(few, fit)
    if every or options.ablation:
        ablation(few, believed)


def ablation(rows: Sequence[Configuration], believed: ServingProfile) -> None:
    """A table of fits with ever more terms."""
    print(f"{len(rows)} configurations\n\n| terms | TPOT | TTFT | throughput |\n|---|---:|---:|---:|")
    fields: tuple[str, ...] = ()
    for title, added in TERMS:
        fields += added
        fit = fit_serving(rows, only(believed, fields), width=WIDTH, fields=fields)
        errors = left_out_errors(rows, fit, family) if fields else fit.errors
        print(f"| {title} | " + " | ".join(cell(errors[:, column]) for column in range(3)) + " |", flush=True)


def only(believed: ServingProfile, fields: Sequence[str]) -> ServingProfile:
    """What is believed, without the terms that are no field: a host's cost is none, a pace the operators'."""
    no_host = {name: 0.0 for name in HOST if name not in fields}
    no_pace = {name: 1.0 for name in PACE if name not in fields}
    return believed.model_copy(
        update={
            "software": tuple(row.model_copy(update=no_host) for row in believed.software),
            "paces": tuple(row.model_copy(update=no_pace) for row in believed.paces),
        }
    )


def own_rows(rows: Sequence[Configuration], fit: Fit) -> None:
    """A table of the errors on the rest of a system's rows, before and after the profile saw a few of them.

    A system: one source, model, device and engine, its model left out of the profile that it starts from.
    """
    names = [(row.bench.case.row.source, family(row), device(row), engine(row)) for row in rows]
    families = np.array([family(row) for row in rows])
    drawn = np.random.default_rng(0)
    print(
        "\n| own rows | systems | rows scored | TPOT | TTFT | throughput |\n|---:|---:|---:|---:|---:|---:|"
    )
    errors: dict[int, list[Floats]] = {count: [] for count in (0, *OWN)}
    for name in dict.fromkeys(names):
        members = drawn.permutation([index for index, other in enumerate(names) if other == name])
        if len(members) < 2 * max(OWN):
            continue
        kept = families != name[1]
        start = told_by(rows, fit, refitted(fit, kept), list(kept))
        scored = [rows[index] for index in members[max(OWN) :]]
        errors[0].append(log_errors(scored, start))
        for count in OWN:
            profile = own_fit([rows[index] for index in members[:count]], start).profile
            errors[count].append(log_errors(scored, profile))
    for count, found in errors.items():
        table = np.concatenate(found)
        cells = " | ".join(cell(table[:, column]) for column in range(3))
        print(f"| {count} | {len(found)} | {len(table)} | {cells} |")
    print()


@dataclass(frozen=True)
class Pair:
    """Two layouts of one model on as many GPUs under one load; ratio: seconds a token of the first over those
    of the second, measured and predicted. days: between the two measurements."""

    measured: float
    predicted: float
    days: int
    fewer: int
    """-1 where a copy of the first takes fewer GPUs, 1 where the second does, else 0."""


def ranking(rows: Sequence[Configuration], errors: Floats) -> None:
    """A table of how often the faster of two layouts is chosen. errors: of models left out."""
    found = list(pairs(rows, errors[:, METRICS.index("tpot_s")]))
    print(f"{len(found)} pairs of layouts with equal numbers of GPUs, by TPOT\n")
    print(
        "| pairs | number | the faster chosen | 90 % interval | mean regret | a coin | its regret |"
        "\n|---|---:|---:|---|---:|---:|---:|"
    )
    for title, chosen in (
        ("all", found),
        (f"measured within {CLOSE_DAYS} days", [pair for pair in found if pair.days <= CLOSE_DAYS]),
        ("differing by more than 10 %", [pair for pair in found if abs(np.log(pair.measured)) > np.log(1.1)]),
    ):
        print_line(title, chosen)
    days = np.array([pair.days for pair in found])
    print(f"\nDays between the two: median {np.median(days):.0f}, most {days.max()}.")
    print(f"'Fewest GPUs a copy' tells apart {sum(pair.fewer != 0 for pair in found)} of the pairs.")


def pairs(rows: Sequence[Configuration], errors: Floats) -> Iterator[Pair]:
    """All that the rows have. errors: ln(predicted / measured) of TPOT."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for index, row in enumerate(rows):
        case = row.bench.case
        if "tpot_s" in row.measured:
            key = (
                *(case.model.name, case.row.precision_weights, case.cluster.device.name, case.software),
                *(case.layout.num_gpus, case.input_tokens, case.output_tokens, case.concurrency),
                case.request_rate_per_s,
            )
            alike.setdefault(key, []).append(index)
    for members in alike.values():
        for one, other in combinations(members, 2):
            first, second = rows[one], rows[other]
            if first.bench.case.layout == second.bench.case.layout:
                continue
            measured = first.measured["tpot_s"] / second.measured["tpot_s"]
            copies = [row.bench.case.layout.gpus_per_copy for row in (first, second)]
            yield Pair(
                measured=measured,
                predicted=measured * float(np.exp(errors[one] - errors[other])),
                days=days_between(first, second),
                fewer=int(np.sign(copies[0] - copies[1])),
            )


def days_between(first: Configuration, second: Configuration) -> int:
    """0 where a date is not stated."""
    dates = []
    for row in (first, second):
        try:
            dates.append(date.fromisoformat(row.bench.case.date))
        except ValueError:
            return 0
    return abs((dates[0] - dates[1]).days)


def print_line(title: str, found: Sequence[Pair]) -> None:
    """One line of the ranking's table."""
    if not found:
        print(f"| {title} | 0 | | | | | |")
        return
    ratio, told = (np.log([getattr(pair, name) for pair in found]) for name in ("measured", "predicted"))
    right = np.sign(ratio) == np.sign(told)
    regret = np.where(right, 0.0, np.expm1(np.abs(ratio)))
    draws = np.random.default_rng(0).integers(0, len(found), (RESAMPLES, len(found)))
    low, high = np.percentile(right[draws].mean(axis=1), [5, 95])
    print(
        f"| {title} | {len(found)} | {right.mean():.0%} | {low:.0%}-{high:.0%} | {regret.mean():.1%} "
        f"| 50 % | {np.expm1(np.abs(ratio)).mean() / 2:.1%} |"
    )


if __name__ == "__main__":
    sys.exit(main())
