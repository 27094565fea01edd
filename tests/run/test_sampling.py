"""Tokens are drawn as they should be: from the right ones, as often as they should, and everywhere alike."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from shardwright.errors import InputError
from shardwright.plan.generation import Sampling
from shardwright.record import validated
from shardwright.run.sampling import GREEDY, next_token

LOGITS = torch.tensor([0.1, 2.0, -1.0, 1.5, 1.4, 0.0, -3.0, 1.0])
DRAWS = 2000


def exact(logits: list[float], sampling: Sampling) -> list[float]:
    """Probabilities by the definition: of the k most likely, the fewest that reach p, renormalised."""
    weights = [math.exp(logit / sampling.temperature) for logit in logits]
    ranked = sorted(range(len(weights)), key=lambda token: -weights[token])[: sampling.top_k]
    total, reached, kept = sum(weights[token] for token in ranked), 0.0, []
    for token in ranked:
        kept.append(token)
        reached += weights[token] / total
        if sampling.top_p is not None and reached >= sampling.top_p:
            break
    mass = sum(weights[token] for token in kept)
    return [weights[token] / mass if token in kept else 0.0 for token in range(len(weights))]


def test_greedy_takes_the_most_likely_token() -> None:
    assert next_token(LOGITS, GREEDY, sequence=3, place=5) == 1


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.7, top_k=3, seed=7),
        Sampling(temperature=1.3, top_p=0.8),
        Sampling(temperature=1.0, top_k=4, top_p=0.6, seed=1_000_000),
    ],
    ids=str,
)
def test_draws_follow_the_exact_distribution(sampling: Sampling) -> None:
    """Chi-square at one in a million; no token outside the exact support is ever drawn."""
    expected = exact(LOGITS.tolist(), sampling)
    counts = [0] * len(LOGITS)
    for draw in range(DRAWS):
        counts[next_token(LOGITS, sampling, sequence=draw % 40, place=draw // 40)] += 1
    support = [token for token, share in enumerate(expected) if share > 0]
    assert [token for token, count in enumerate(counts) if count] == support
    statistic = sum(
        (counts[token] - DRAWS * expected[token]) ** 2 / (DRAWS * expected[token]) for token in support
    )
    degrees = max(1, len(support) - 1)
    # Wilson and Hilferty's approximation of the quantile; 4.75 is the normal's at 1e-6.
    assert statistic < degrees * (1 - 2 / (9 * degrees) + 4.75 * math.sqrt(2 / (9 * degrees))) ** 3


@given(
    hundredths=st.lists(st.integers(-800, 800), min_size=2, max_size=12, unique=True),
    top_k=st.none() | st.integers(1, 15),
    top_p=st.none() | st.floats(0.01, 1.0),
    temperature=st.floats(0.05, 5),
    seed=st.integers(0, 1_000_000),
)
def test_what_is_drawn_may_be_drawn(
    hundredths: list[int], top_k: int | None, top_p: float | None, temperature: float, seed: int
) -> None:
    logits = [number / 100 for number in hundredths]
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    # Where the mass falls on top_p itself, the last digits decide: allowed is what a little more would be.
    wider = sampling.model_copy(update={"top_p": None if top_p is None else top_p + 1e-9})
    drawn = next_token(torch.tensor(logits, dtype=torch.float64), sampling, sequence=0, place=0)
    assert exact(logits, wider)[drawn] > 0


def test_draws_differ_by_seed_sequence_and_place_and_not_by_the_last_digits() -> None:
    wide = torch.linspace(0, 1, 500)
    sampling = Sampling(temperature=1.0, seed=3)

    def row(logits: Tensor, seed: int, sequence: int) -> list[int]:
        other = sampling.model_copy(update={"seed": seed})
        return [next_token(logits, other, sequence=sequence, place=place) for place in range(100)]

    rows = [row(wide, seed, sequence) for seed in (3, 4) for sequence in (0, 1)]
    assert len({tuple(found) for found in rows}) == 4 and len(set(rows[0])) > 50
    # Neighbours that change places in the order keep their own noise.
    shaken = wide.double() + 1e-7 * torch.randn(500, generator=torch.Generator().manual_seed(0))
    assert row(shaken, 3, 0) == rows[0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-3])
def test_a_low_temperature_is_greedy(temperature: float) -> None:
    assert next_token(LOGITS, Sampling(temperature=temperature), sequence=0, place=0) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.inf),
        ("temperature", math.nan),
        ("top_k", 0),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("seed", -1),
        ("seed", 1_000_001),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(InputError, match=f"sampling.{field}"):
        validated(Sampling, {field: value}, field="sampling")
