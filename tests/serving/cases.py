"""Random servers and loads, small enough that every rule of scheduling is met often."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from shardwright.cost.host import Host
from shardwright.serving.policy import Policy
from shardwright.serving.requests import Requests
from shardwright.serving.server import Server
from shardwright.serving.times import Floats, StepTimes


@dataclass(frozen=True)
class Case:
    """A server and what it is asked."""

    server: Server
    requests: Requests


def flat_times(own_s: float = 0.0, *, prompt_token_s: float = 0.0, most_tokens: int = 1024) -> StepTimes:
    """A step takes own_s whatever it does, and prompt_token_s more for each token of a prompt."""
    ends = np.array([1.0, float(most_tokens)])
    zeros, square = np.zeros(2), np.zeros((2, 2))
    return StepTimes(
        tokens=ends,
        own_s=np.full(2, own_s),
        busy=np.ones(2),
        all_tokens=ends,
        joint_s=zeros,
        sequences=ends,
        head_s=zeros,
        contexts=ends,
        decode_s=square,
        prefill_s=np.outer(ends * prompt_token_s, np.ones(2)),
        start_s=square,
    )


def server(
    times: StepTimes, *, dp: int = 1, pp: int = 1, copies: int = 1, host: Host | None = None, **policy: object
) -> Server:
    """As vLLM schedules, with room for all; `policy` replaces what it names."""
    usual = Policy(
        most_tokens=1024,
        most_sequences=64,
        kv_tokens=1 << 40,
        mixes=True,
        splits=True,
        reserve=0.0,
        poll_steps=1,
        gather_steps=0,
    )
    return Server(
        times=times, policy=usual._replace(**policy), host=host or Host(), dp=dp, pp=pp, copies=copies
    )


def _ascending(draw: st.DrawFn, largest: int) -> Floats:
    inner = draw(st.sets(st.integers(1, largest), min_size=1, max_size=4))
    return np.array(sorted(inner), dtype=float)


@st.composite
def random_times(draw: st.DrawFn) -> StepTimes:
    """Tables of a few points each, some of one point, their seconds at random."""
    generator = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    tokens, all_tokens = _ascending(draw, 40), _ascending(draw, 120)
    sequences, contexts = _ascending(draw, 8), _ascending(draw, 60)

    def seconds(*shape: int) -> Floats:
        return generator.uniform(1e-4, 1e-2, shape)

    return StepTimes(
        tokens=tokens,
        own_s=seconds(len(tokens)),
        busy=generator.uniform(0.3, 1.0, len(tokens)),
        all_tokens=all_tokens,
        joint_s=seconds(len(all_tokens)),
        sequences=sequences,
        head_s=seconds(len(sequences)),
        contexts=contexts,
        decode_s=seconds(len(sequences), len(contexts)),
        prefill_s=seconds(len(tokens), len(contexts)),
        start_s=seconds(len(tokens), len(contexts)),
    )


@st.composite
def random_cases(draw: st.DrawFn) -> Case:
    """Any policy, tight room for KV as often as not, any load; one copy."""
    most_sequences = draw(st.integers(1, 5))
    low_prompt, low_answer = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    rooms = draw(st.sampled_from([1.0, 1.5, 2.5, 20.0]))
    policy = Policy(
        most_tokens=draw(st.integers(most_sequences, 30)),
        most_sequences=most_sequences,
        kv_tokens=int(rooms * (low_prompt + low_answer)),
        mixes=draw(st.booleans()),
        splits=draw(st.booleans()),
        reserve=draw(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0])),
        poll_steps=draw(st.sampled_from([1, 1, 2, 5])),
        gather_steps=draw(st.sampled_from([0, 0, 1, 4])),
    )
    seconds = st.floats(0, 5e-3)
    share = st.floats(0.5, 1.5)
    host = Host(
        step_s=draw(seconds),
        least_s=draw(st.floats(0, 3e-2)),
        sequence_s=draw(seconds),
        prefill_s=draw(seconds),
        least_prefill_s=draw(st.floats(0, 3e-2)),
        api_s=draw(seconds),
        api_token_s=draw(st.floats(0, 1e-3)),
        decode=draw(share),
        prefill=draw(share),
    )
    count = draw(st.integers(1, 24))
    generator = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    prompt_range, answer_range = draw(st.sampled_from([0, 15])), draw(st.sampled_from([0, 15]))
    is_open = draw(st.booleans())
    mean_gap_s = draw(st.sampled_from([1e-3, 2e-2, 2e-1]))
    requests = Requests(
        length=generator.integers(low_prompt, low_prompt + prompt_range, count, endpoint=True),
        answer=generator.integers(low_answer, low_answer + answer_range, count, endpoint=True),
        arrivals_s=np.cumsum(generator.exponential(mean_gap_s, count)) if is_open else None,
        in_flight=0 if is_open else draw(st.integers(1, 12)),
    )
    return Case(
        Server(
            times=draw(random_times()),
            policy=policy,
            host=host,
            dp=draw(st.sampled_from([1, 1, 2, 4])),
            pp=draw(st.sampled_from([1, 1, 2, 3])),
            copies=1,
        ),
        requests,
    )
