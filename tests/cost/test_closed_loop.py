"""The closed form of a closed loop, by hand; tests/search holds it against the simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.cost.closed_loop import Served, serve
from shardwright.cost.host import Host
from shardwright.cost.house import Batching, House, Passage
from shardwright.workload.workload import Workload

MIXING = Batching(most_tokens=1000, mixes=True, splits=True)
WAITING = Batching(most_tokens=1000, mixes=False, splits=True)
WHOLE = Batching(most_tokens=1000, mixes=False, splits=False)


def workload(batch: int, prompt: int = 100, answer: int = 101, spread: float = 0.0) -> Workload:
    longest = 2 * (prompt + answer)
    return Workload(
        batch=batch, input_tokens=prompt, output_tokens=answer, max_model_len=longest, spread=spread
    )


def house(
    sequences: object,
    *,
    decode_s: float = 0.01,
    attention_s: float = 0.0,
    prompt_s: float = 0.1,
    **more: object,
) -> House:
    """One rank whose steps with prompts take as long for one as for many, unless `more` says otherwise."""
    alike = Passage(pass_s=prompt_s, busy_s=prompt_s)
    given = {"lanes": 1, "dp": 1, "single": alike, "lone": alike, "full": alike, **more}
    return House(sequences=sequences, decode_s=decode_s, attention_s=attention_s, **given)


def served(
    batching: Batching, work: Workload, *, host: Host | None = None, attention_s: float = 0.0
) -> Served:
    """Of one rank: 10 ms a decode step, 100 ms a step with prompts, one or more."""
    return serve(work, batching, host or Host(), house(work.batch, attention_s=attention_s))


@pytest.mark.parametrize("batching", [MIXING, WAITING, WHOLE])
def test_one_bunch_waits_for_its_own_prompts_alone(batching: Batching) -> None:
    found = served(batching, workload(10))
    assert float(found.tpot_s) == pytest.approx(0.01)
    assert float(found.ttft_s) == pytest.approx(0.1)
    assert float(found.throughput_tokens_per_s) == pytest.approx(10 * 101 / (0.1 + 100 * 0.01))


def test_who_waits_for_prompts_waits_for_those_behind() -> None:
    """40 prompts of 100 tokens, 10 a step: four steps, 2.5 on average to one's own and 1.5 after it."""
    found = served(WAITING, workload(40))
    assert float(found.ttft_s) == pytest.approx(2.5 * 0.1)
    assert float(found.tpot_s) == pytest.approx(0.01 + 1.5 * 0.1 / 100)


def test_prompts_that_are_not_cut_fill_a_step_less() -> None:
    """Three of 300 tokens fit: 12 take four steps; cut they take 3.6."""
    found = (float(served(batching, workload(12, 300)).ttft_s) for batching in (WHOLE, WAITING))
    assert list(found) == pytest.approx([2.5 * 0.1, 2.3 * 0.1])


def test_a_prompt_of_several_steps_is_a_bunch_of_its_own() -> None:
    """Two of 3,000 tokens: three steps each, so 3 and 6 steps to the first token."""
    assert float(served(WAITING, workload(2, 3000)).ttft_s) == pytest.approx(4.5 * 0.1)


def test_bunches_that_come_back_apart_wait_for_their_own_turn() -> None:
    """Ten waves: the first waits as above; later bunches find nobody before them and meet three others'
    prompts, 25 % of them before the line forms: the room of a step is less what is decoded."""
    found = served(MIXING, workload(40))
    first_steps = 40 * 100 / (1000 - 15)
    later_steps = 40 * 100 / (1000 - 30)
    assert float(found.ttft_s) == pytest.approx(0.1 * (first_steps + 1) / 2 * 0.1 + 0.9 * 0.1)
    met = 0.1 * (first_steps - 1) / 2 + 0.9 * (later_steps - 1)
    assert float(found.tpot_s) == pytest.approx(0.01 + met * 0.09 / 100)


def test_a_way_back_of_some_steps_lets_a_line_form() -> None:
    """25 ms on the way are three steps of decoding: four bunches end, and every later one finds four."""
    host = Host(api_s=0.025)
    without, found = (served(MIXING, workload(100), host=own) for own in (Host(), host))
    first_s = 0.1 * (0.025 + (100 * 100 / (1000 - 45) + 1) / 2 * 0.1)
    assert (float(found.ttft_s) - first_s) / 0.9 > 0.3
    assert float(found.tpot_s) < float(without.tpot_s)


def test_prompts_longer_than_the_answers_make_every_step_a_prompt() -> None:
    """100 prompts a wave, answers of 11 tokens: 10 bunches against 10 steps of decoding, and none is free."""
    found = served(MIXING, workload(1000, 100, 11))
    assert float(found.tpot_s) == pytest.approx(0.1, rel=0.02)
    assert float(found.ttft_s) > 90 * 0.1


def test_steps_with_prompts_decode_beside_them() -> None:
    """The attention of those that decode comes on top of the prompts."""
    bare, beside = (served(MIXING, workload(40), attention_s=seconds) for seconds in (0.0, 0.005))
    assert float(bare.tpot_s) < float(beside.tpot_s) < float(bare.tpot_s) + 0.005


@given(
    batch=st.integers(1, 600),
    prompt=st.integers(1, 5000),
    answer=st.integers(1, 3000),
    mixes=st.booleans(),
    splits=st.booleans(),
    api_s=st.floats(0, 1),
    decode_s=st.floats(0.001, 0.1),
    slower=st.floats(1, 50),
    spread=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_little_s_law_and_bounds(
    batch: int,
    prompt: int,
    answer: int,
    mixes: bool,
    splits: bool,
    api_s: float,
    decode_s: float,
    slower: float,
    spread: float,
) -> None:
    """TPOT lies between a step that decodes and the longest one; no more is in flight than was asked for."""
    work = workload(batch, prompt, answer, spread)
    most = 1000 if splits else max(1000, work.max_model_len)
    batching = Batching(most_tokens=most, mixes=mixes, splits=splits)
    prompt_s = decode_s * slower
    found = serve(work, batching, Host(api_s=api_s), house(batch, decode_s=decode_s, prompt_s=prompt_s))
    tpot_s, ttft_s = float(found.tpot_s), float(found.ttft_s)
    assert decode_s * (1 - 1e-9) <= tpot_s
    assert not mixes or tpot_s <= prompt_s * (1 + 1e-9)
    assert ttft_s >= prompt_s * (1 - 1e-9)
    in_flight = float(found.throughput_tokens_per_s) / answer * (ttft_s + (answer - 1) * tpot_s)
    assert in_flight <= batch * (1 + 1e-9)


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_many_layouts_at_once_are_each_alone(spread: float) -> None:
    counts, lanes, dp = np.array([1, 7, 40, 300]), np.array([1, 1, 2, 4]), np.array([1, 4, 1, 8])
    host = Host(api_s=0.03, step_s=0.002, sequence_s=1e-5)
    work = workload(300, spread=spread)
    passages = {
        name: Passage(pass_s=seconds, busy_s=seconds / 2)
        for name, seconds in (("single", 0.03), ("lone", 0.05), ("full", 0.1))
    }
    together = serve(work, MIXING, host, house(counts, attention_s=0.002, lanes=lanes, dp=dp, **passages))
    for place, row in enumerate(zip(counts.tolist(), lanes.tolist(), dp.tolist(), strict=True)):
        count, own_lanes, own_dp = row
        own = house(count, attention_s=0.002, lanes=own_lanes, dp=own_dp, **passages)
        alone = serve(work, MIXING, host, own)
        for figure in ("step_s", "tpot_s", "ttft_s", "throughput_tokens_per_s"):
            assert getattr(together, figure)[place] == pytest.approx(float(getattr(alone, figure)))


def test_one_client_alone_meets_nobody() -> None:
    """Whatever its lengths: TTFT is its prompt, TPOT a step."""
    found = served(MIXING, workload(1, spread=0.1))
    assert float(found.ttft_s) == pytest.approx(0.1)
    assert float(found.tpot_s) == pytest.approx(0.01)


def test_requests_that_come_one_by_one_stall_each_other_more_often() -> None:
    """40 sequences of 101 tokens: as a bunch of 10 they stall each other 4 times, apart up to 39 times."""
    together, apart = (served(MIXING, workload(40, spread=spread)) for spread in (0.0, 0.1))
    assert float(apart.tpot_s) > 1.5 * float(together.tpot_s)
    assert float(apart.throughput_tokens_per_s) < float(together.throughput_tokens_per_s)


def test_ranks_that_step_together_stall_for_each_others_prompts() -> None:
    """Four ranks of ten sequences meet the prompts of forty; four copies of ten, of ten each."""
    work = workload(40, spread=0.1)
    copies, ranks = (serve(work, MIXING, Host(), house(10, dp=dp)) for dp in (1, 4))
    assert float(ranks.tpot_s) > 1.5 * float(copies.tpot_s)


def test_a_step_of_prompts_costs_what_its_ranks_and_prompts_do() -> None:
    """One rank, all four, all four with a full step; two lanes take turns."""
    prices = {"single": 0.02, "lone": 0.05, "full": 0.17}
    passages = {name: Passage(pass_s=seconds, busy_s=seconds / 2) for name, seconds in prices.items()}
    own = house(8, dp=4, **passages)
    seconds = [float(own.prompt_step_s(Host(), count, 4.0, 0.0)) for count in (1, 2.5, 4, 8, 16)]
    assert seconds == pytest.approx([0.02, 0.035, 0.05, 0.09, 0.17])
    lanes = house(8, dp=4, lanes=3, **passages)
    seconds = [float(lanes.prompt_step_s(Host(), count, 4.0, 0.0)) for count in (1, 2, 12)]
    assert seconds == pytest.approx([0.02, 2 * 0.01 + 0.01 / 3, 3 * 0.025])


def test_a_host_slower_than_its_devices_sets_the_pace() -> None:
    """Where it works beside them the longer counts, else both do."""
    tpot = {
        name: float(served(MIXING, workload(1), host=Host(**{name: seconds})).tpot_s)
        for name, seconds in (("least_s", 0.05), ("step_s", 0.05))
    }
    assert tpot == pytest.approx({"least_s": 0.05, "step_s": 0.06})
    assert float(served(MIXING, workload(1), host=Host(least_s=0.004)).tpot_s) == pytest.approx(0.01)
