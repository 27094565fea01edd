"""Metrics in Prometheus' text format, against the observations that they were made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from shardwright.launch.inspect.metrics import Samples, parse, whole

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.5, 1.0)


def page_of(by_rank: dict[str, list[float]]) -> str:
    registry = CollectorRegistry()
    histogram = Histogram("e:ttft_seconds", "of a test", ["rank"], registry=registry, buckets=BOUNDS)
    for rank, values in by_rank.items():
        for value in values:
            histogram.labels(rank).observe(value)
    return generate_latest(registry).decode()


@given(
    st.dictionaries(
        st.sampled_from(["0", "1", "2"]), st.lists(st.floats(0, 3), min_size=1, max_size=60), min_size=1
    )
)
@settings(max_examples=60, deadline=None)
def test_quantiles_lie_in_the_bucket_of_the_true_ones(by_rank: dict[str, list[float]]) -> None:
    found = parse(page_of(by_rank)).distribution("e:ttft_seconds")
    values = [value for rank in by_rank.values() for value in rank]
    assert found is not None and found.count == len(values)
    assert found.mean_s == pytest.approx(np.mean(values))
    for share, level in ((0.5, found.p50), (0.9, found.p90), (0.99, found.p99)):
        true = np.quantile(values, share, method="inverted_cdf")
        high = np.inf if level.high_s is None else level.high_s
        assert level.low_s <= true <= high
        if level.value_s is None:
            assert level.low_s == BOUNDS[-1] and level.high_s is None
        else:
            assert level.low_s <= level.value_s <= high


def test_interpolation_by_hand() -> None:
    """Of 10 in (0, 0.01] and 30 in (0.025, 0.05], the median is a third into the second bucket."""
    found = parse(page_of({"0": [0.005] * 10 + [0.03] * 30})).distribution("e:ttft_seconds")
    assert found is not None
    assert found.p50.value_s == pytest.approx(0.025 + 0.025 / 3)


@pytest.mark.parametrize(
    "page",
    [
        "",
        "e:ttft_seconds_sum 3\ne:ttft_seconds_count 2\n",
        'e:ttft_seconds_bucket{le="0.1"} 2\n',
        'e:ttft_seconds_bucket{le="0.1"} 5\ne:ttft_seconds_bucket{le="+Inf"} 2\n',
        'e:ttft_seconds_bucket{le="0.1"} 0\ne:ttft_seconds_bucket{le="+Inf"} 0\n',
        'e:ttft_seconds_bucket{le="NaN"} 1\ne:ttft_seconds_bucket{le="x"} 2\n',
        'e:ttft_seconds_bucket{le="+Inf"} NaN\n',
    ],
)
def test_what_is_no_histogram_is_not_said(page: str) -> None:
    assert parse(page).distribution("e:ttft_seconds") is None


def test_values_that_nothing_can_count_are_not_said() -> None:
    samples = parse("a NaN\nb -1\nc +Inf\nd 1e300\ne 3\n")
    assert {name: samples.total(name) for name in "abcde"} == {**dict.fromkeys("abcd"), "e": 3.0}


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_is_samples_or_a_value_error(text: str) -> None:
    try:
        found = parse(text)
    except ValueError:
        return
    assert isinstance(found, Samples)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        (7, 7),
        ("None", None),
        ("-1", None),
        ("1.5", None),
        (True, None),
        ("٣", None),
        ("9" * 40, None),
    ],
)
def test_whole_numbers(text: object, number: int | None) -> None:
    assert whole(text) == number
