"""The tables against the rank program that they are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from shardwright.cost.price import wires_of
from shardwright.cost.step import StepCost, step_cost
from shardwright.engine.catalog import find_engine
from shardwright.layout.layout import Layout
from shardwright.layout.notation import parse_layout
from shardwright.model.catalog import find_model
from shardwright.serving.lookup import across, along
from shardwright.serving.requests import Requests
from shardwright.serving.simulate import simulate
from shardwright.serving.times import StepTimes, points, step_times
from shardwright.steps.forms import Forms
from shardwright.steps.load import routed_load
from shardwright.steps.operation import Phase
from shardwright.workload.routing import RoutingProfile
from tests.samples import cluster
from tests.serving.cases import server

MOST_TOKENS, MOST_SEQUENCES, LONGEST = 8192, 512, 16384

LAYOUTS = (
    ("Qwen3-30B-A3B", "tp2.dp4/ep8", "vllm"),
    ("Qwen3-30B-A3B", "tp4.pp2/ep4", "vllm"),
    ("Llama-3.1-70B", "tp8", "trtllm"),
    ("Llama-3.1-70B", "tp4.pp2", "vllm"),
    ("DeepSeek-V3", "dp16/ep16", "sglang"),
    ("DeepSeek-V3", "tp8.pp2/ep8", "vllm"),
    ("gpt-oss-120b", "tp4", "vllm"),
    ("Qwen3-30B-A3B", "tp2.dp2.pp2+ep4", "shardwright"),
    ("Qwen3-30B-A3B", "tp2.dp2.pp2+ep4.shared", "shardwright"),
)
"""Grouped-query and latent attention, dense and MoE, windows, dp, pp, experts on GPUs of their own."""


@dataclass(frozen=True)
class Priced:
    """A layout's tables, and the rank program that they stand for: (phase, sequences, query tokens, context)
    of each dp rank."""

    times: StepTimes
    layout: Layout
    program: Callable[[Phase, float, float, float], StepCost]

    def seconds(
        self, *, prompts: Sequence[int] = (), contexts: Sequence[int] = (), batches: int = 1
    ) -> float:
        """A step in which each rank of so many micro-batches fills these prompts, and decodes these.

        Those who decode come first; their own prompts are filled in a step before.
        """
        lanes = self.layout.dp * batches
        lengths = np.repeat([*(context - 1 for context in contexts), *prompts], lanes)
        before = lanes * len(contexts)
        is_prompt = np.arange(len(lengths)) >= before
        requests = Requests(
            length=lengths,
            answer=np.where(is_prompt, 1, 2),
            arrivals_s=np.where(is_prompt & (before > 0), 1e-12, 0.0),
        )
        roomy = server(self.times, dp=self.layout.dp, pp=batches, most_tokens=1 << 40, most_sequences=1 << 20)
        (served,) = simulate(roomy, requests)
        assert served.steps == (2 if before else 1)
        return float(served.last_s[0] - served.first_s[0] if before else served.first_s[0])


@cache
def priced(name: str, layout_text: str, engine_name: str) -> Priced:
    """The tables of a layout, and what they were made from."""
    model, engine, layout = find_model(name), find_engine(engine_name), parse_layout(layout_text)
    layers, forms = engine.stages(model.num_layers, layout.pp), Forms(exchange=engine.exchange)
    wires, routing = wires_of(engine, cluster(), layout, None), RoutingProfile()

    def program(phase: Phase, sequences: float, query_tokens: float, context: float) -> StepCost:
        load = routed_load(
            phase,
            model=model,
            degrees=layout,
            sequences=sequences,
            query_tokens=query_tokens,
            context=context,
            routing=routing,
        )
        return step_cost(model, layout, layers, load, layout.pp, wires, forms)

    times = step_times(
        model,
        layout,
        layers,
        wires,
        forms,
        routing,
        most_tokens=MOST_TOKENS,
        most_sequences=MOST_SEQUENCES,
        longest=LONGEST,
    )
    return Priced(times, layout, program)


every_layout = pytest.mark.parametrize("case", LAYOUTS, ids="-".join)


@every_layout
def test_at_the_points(case: tuple[str, str, str]) -> None:
    """A step of decoded sequences alone, or of one prompt, takes what the rank program takes."""
    here = priced(*case)
    for sequences in here.times.sequences[::4].astype(int):
        for context in here.times.contexts[::4].astype(int):
            expected = here.program("decode", sequences, 1, context).pass_s
            assert here.seconds(contexts=[context] * sequences) == pytest.approx(expected, rel=1e-9)
    for length in (64, 256, 1024, 8192):  # a point of tokens and of contexts, and on dp ranks of all_tokens
        expected = here.program("prefill", 1, length, length).pass_s
        assert here.seconds(prompts=[length]) == pytest.approx(expected, rel=1e-9)


@every_layout
def test_between_the_points(case: tuple[str, str, str]) -> None:
    """Within 9 %, the median within 1 %: of decoded sequences, of a prompt, of several prompts."""
    here, generator = priced(*case), np.random.default_rng(0)
    errors: dict[str, list[float]] = {"decode": [], "prompt": [], "prompts": []}

    def drawn(least: int, most: float) -> int:
        return int(np.exp(generator.uniform(np.log(least), np.log(most))))

    for _ in range(40):
        sequences, context = drawn(1, MOST_SEQUENCES), drawn(64, LONGEST)
        expected = here.program("decode", sequences, 1, context).pass_s
        errors["decode"].append(here.seconds(contexts=[context] * sequences) / expected - 1)
        length = drawn(1, MOST_TOKENS)
        expected = here.program("prefill", 1, length, length).pass_s
        errors["prompt"].append(here.seconds(prompts=[length]) / expected - 1)
        prompts = int(generator.integers(2, 17))
        length = drawn(1, MOST_TOKENS / prompts)
        expected = here.program("prefill", prompts, length, length).pass_s
        errors["prompts"].append(here.seconds(prompts=[length] * prompts) / expected - 1)
    for kind, of_kind in errors.items():
        assert np.median(np.abs(of_kind)) < 0.01, kind
        assert np.max(np.abs(of_kind)) < 0.09, kind


@every_layout
def test_full_pipeline(case: tuple[str, str, str]) -> None:
    """A cycle of all micro-batches, against the rank program's: of prompts, of which the busiest stage's
    share is told, within 1 %; of decoded sequences within 5 %. Experts that all stages share are the busiest,
    and take another share of a decode step than of a prompt: 25 %."""
    here = priced(*case)
    pp = here.layout.pp
    expected = here.program("prefill", 1, 4096, 4096).cycle_s
    assert here.seconds(prompts=[4096], batches=pp) == pytest.approx(expected, rel=0.01)
    expected = here.program("decode", 64, 1, 2048).cycle_s
    assert here.seconds(contexts=[2048] * 64, batches=pp) == pytest.approx(
        expected, rel=0.25 if here.layout.home == "shared" else 0.05
    )


def test_mixed_step() -> None:
    """Contexts enter by their mean; tokens of prompts and of sequences are projected together."""
    here = priced("Llama-3.1-70B", "tp8", "trtllm")
    spread, level = here.seconds(contexts=[1000, 3000]), here.seconds(contexts=[2000, 2000])
    assert spread == pytest.approx(level, rel=1e-12)
    times = here.times
    tokens = 1024 + 32
    expected = (
        along(times.tokens, times.own_s, tokens)
        + along(times.all_tokens, times.joint_s, tokens)
        + along(times.sequences, times.head_s, 33)
        + across(times.tokens, times.contexts, times.prefill_s, 1024, 1024)
        + across(times.tokens, times.contexts, times.start_s, 1024, 1024)
        + across(times.sequences, times.contexts, times.decode_s, 32, 2000)
    )
    assert here.seconds(prompts=[1024], contexts=[2000] * 32) == pytest.approx(expected, rel=1e-12)


def test_points() -> None:
    """Ascending whole numbers, both ends included, no two further apart than an octave."""
    for least, most in [(1, 1), (1, 2), (1, 8192), (1, 4095), (64, 64), (64, 131072), (7, 1000)]:
        found = points(least, most)
        assert (found[0], found[-1]) == (least, most)
        assert np.all(np.diff(found) > 0)
        assert np.array_equal(found, np.round(found))
        assert np.all(found[1:] <= 2 * found[:-1])
    assert len(points(1, 8192)) == 26


def test_lookup() -> None:
    """As numpy reads a table, and level beyond its ends."""
    generator = np.random.default_rng(0)
    rows, columns = np.array([1.0, 2.0, 5.0, 11.0]), np.array([3.0, 4.0, 9.0])
    values = generator.uniform(size=(4, 3))
    for row, column in generator.uniform(0, 14, (300, 2)):
        expected = np.interp(row, rows, [np.interp(column, columns, line) for line in values])
        assert across(rows, columns, values, row, column) == pytest.approx(expected, rel=1e-12)
        assert along(rows, values[:, 0].copy(), row) == pytest.approx(
            np.interp(row, rows, values[:, 0]), rel=1e-12
        )
    one = np.array([2.0])
    assert along(one, np.array([7.0]), 1.0) == along(one, np.array([7.0]), 5.0) == 7.0
