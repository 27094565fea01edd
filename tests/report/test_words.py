import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.plan.plan import TargetCheck
from shardwright.report.words import MET, MISSED, QUANTITIES, UNCERTAIN, outcome, verdict_on, with_interval
from shardwright.units import Estimate, format_bytes, format_rate, format_seconds, format_share
from tests.report.records import CHECKS


@pytest.mark.parametrize(
    ("value", "low", "high", "form", "text"),
    [
        (0.0069, 0.0062, 0.0078, format_seconds, "6.90 ms (6.20-7.80)"),
        (0.0011, 0.0009, 0.0013, format_seconds, "1.10 ms (900 us-1.30 ms)"),
        (13640.4, 9000, 15000, format_rate, "13,640 tokens/s (9,000-15,000)"),
        (0.031, 0.02, 0.05, format_share, "3.1 % (2.0-5.0)"),
        (6e10, 6e10, 6e10, format_bytes, "60.0 GB"),
    ],
)
def test_interval_stands_behind_its_value(value, low, high, form, text):
    assert with_interval(Estimate(value=value, low=low, high=high), form) == text


def test_outcomes_tell_sure_from_unsure_from_missed():
    assert [outcome(check) for check in CHECKS] == [UNCERTAIN, MET, MISSED]


def test_a_target_is_said_in_its_unit():
    assert QUANTITIES["tpot_ms"].target(50) == "at most 50.0 ms"
    assert QUANTITIES["throughput_tokens_per_s"].target(20000) == "at least 20,000 tokens/s"
    assert QUANTITIES["memory_gb"].target(64) == "at most 64.0 GB"
    assert QUANTITIES["communication_fraction"].target(0.2) == "at most 20.0 %"


checks = st.lists(
    st.builds(
        lambda name, met, probable: TargetCheck(
            name=name, target=1, unit="", predicted=1, met=met, probable=met and probable, probability=0.5
        ),
        st.sampled_from(sorted(QUANTITIES)),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    unique_by=lambda check: check.name,
).map(tuple)


@given(checks)
def test_the_verdict_says_met_only_when_nothing_is_missed(rows):
    said = verdict_on(rows)
    missed = [QUANTITIES[check.name].title for check in rows if not check.met]
    assert ("met" in said.replace("memory", "")) == (not missed)
    assert all(title in said for title in missed)
    assert said.count("missed") == bool(missed)
    assert ("unfavourable" in said) == (not missed and not all(check.probable for check in rows))
