"""Lengths and targets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shardwright.workload.workload import Targets, Workload


@given(st.integers(1, 5000), st.integers(2, 500))
def test_mean_context_is_the_mean_over_decode_steps(inputs: int, outputs: int) -> None:
    workload = Workload(batch=1, input_tokens=inputs, output_tokens=outputs, max_model_len=8192)
    contexts = range(inputs + 1, inputs + outputs)  # behind the steps that make tokens 2 .. outputs
    assert workload.mean_context == sum(contexts) / len(contexts)


def test_lengths_must_fit() -> None:
    lengths = {"batch": 1, "input_tokens": 1000, "output_tokens": 24}
    assert Workload(**lengths, max_model_len=1024).max_model_len == 1024
    with pytest.raises(ValidationError, match="1000 \\+ output_tokens 24 exceed max_model_len 1023"):
        Workload(**lengths, max_model_len=1023)


@pytest.mark.parametrize("field", ["batch", "input_tokens", "output_tokens", "max_model_len"])
@pytest.mark.parametrize("value", [0, -1, True, "8", 1.5])
def test_counts_are_whole_numbers_from_one(field: str, value: object) -> None:
    good = {"batch": 8, "input_tokens": 8, "output_tokens": 8, "max_model_len": 64}
    with pytest.raises(ValidationError, match=field):
        Workload.model_validate({**good, field: value})


@pytest.mark.parametrize(
    "bad", [{"tpot_ms": 0}, {"communication_fraction": 1.5}, {"memory_gb": float("inf")}, {"tpot": 5}]
)
def test_targets_are_positive_and_known(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        Targets.model_validate(bad)
    assert Targets().model_dump(exclude_none=True) == {}
