"""A page of metrics in Prometheus' text format: its samples, their sums, and the histograms among them."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from shardwright.launch.inspect.inspection import Distribution, Quantile

Labels = tuple[tuple[str, str], ...]

COUNTED = ("_total", "_bucket", "_sum", "_count")
"""How the names of samples end that only grow while a server lives."""

QUANTILES = (0.5, 0.9, 0.99)

LARGEST = 1e18
"""Of a value: more than any server counts, and no sum of such ones overflows."""


@dataclass(frozen=True)
class Samples:
    """Values from 0 to LARGEST, by name and labels: any other figure counts as not said."""

    values: Mapping[str, Mapping[Labels, float]]

    def of(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Every sample of the name, with its labels."""
        for labels, value in self.values.get(name, {}).items():
            yield dict(labels), value

    def total(self, name: str) -> float | None:
        """The sum over all labels; None where there is no sample."""
        values = self.values.get(name)
        return sum(values.values()) if values else None

    def by_rank(self, name: str, label: str) -> dict[int, float]:
        """The largest value of each rank: TP ranks and stages of one rank tell the same of it."""
        found: dict[int, float] = {}
        for labels, value in self.of(name):
            rank = whole(labels.get(label)) or 0
            found[rank] = max(found.get(rank, 0.0), value)
        return found

    def since(self, earlier: "Samples") -> "Samples | None":
        """What was counted since an `earlier` page, gauges as they are; None where a count went back."""
        grown = {}
        for name, values in self.values.items():
            if name.endswith(COUNTED):
                before = earlier.values.get(name, {})
                grown[name] = {labels: value - before.get(labels, 0.0) for labels, value in values.items()}
                if any(value < 0 for value in grown[name].values()):
                    return None
            else:
                grown[name] = dict(values)
        return Samples(grown)

    def distribution(self, name: str) -> Distribution | None:
        """The histogram over all labels; None where there is none, nothing in it, or no order in it."""
        buckets: dict[float, float] = defaultdict(float)
        for labels, value in self.of(f"{name}_bucket"):
            bound = _bound(labels.get("le", ""))
            if bound is not None:
                buckets[bound] += value
        counts = [buckets[bound] for bound in sorted(buckets)]
        summed = self.total(f"{name}_sum")
        ordered = all(low <= high for low, high in pairwise(counts))
        if not counts or not counts[-1] or max(buckets) != math.inf or not ordered:
            return None
        mean = None if summed is None else summed / counts[-1]
        levels = [_quantile(share, sorted(buckets), counts) for share in QUANTILES]
        return Distribution(count=int(counts[-1]), mean_s=mean, p50=levels[0], p90=levels[1], p99=levels[2])


def parse(text: str) -> Samples:
    """The samples of a page. Raises ValueError where the text has another format."""
    # Imported here: with its server and its collectors it takes as long as a plan's own modules.
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    values: dict[str, dict[Labels, float]] = defaultdict(dict)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                value = float(sample.value)
                if 0 <= value <= LARGEST:
                    values[sample.name][tuple(sorted(sample.labels.items()))] = value
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None
    return Samples(dict(values))


def whole(text: object) -> int | None:
    """The whole number that a label or a field states, up to 10^15."""
    if isinstance(text, bool):
        return None
    if isinstance(text, int):
        return text if 0 <= text <= 10**15 else None
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 15:
        return int(text)
    return None


def _bound(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) or value == -math.inf else value


def _quantile(share: float, bounds: list[float], counts: list[float]) -> Quantile:
    """Linear inside the bucket, as Prometheus' histogram_quantile has it; from 0 in the first."""
    wanted = share * counts[-1]
    index = next(place for place, count in enumerate(counts) if count >= wanted)
    below = counts[index - 1] if index else 0.0
    low, high = (max(0.0, bounds[index - 1]) if index else 0.0), bounds[index]
    if high == math.inf:
        return Quantile(value_s=None, low_s=low, high_s=None)
    inside = (wanted - below) / (counts[index] - below) if counts[index] > below else 1.0
    return Quantile(value_s=low + (high - low) * inside, low_s=low, high_s=high)
