"""What a server does at each step, and what its host adds: the numbers that a simulation takes."""

from typing import NamedTuple


class Policy(NamedTuple):
    """How requests are taken up. Of one attention rank.

    most_tokens: of a step. most_sequences: that run. kv_tokens: that its KV cache holds. mixes: decoded
    sequences go on in a step with prompts, else those of the same rank wait. splits: a prompt that does not
    fit is cut. reserve: share of the answers to come that is kept free when a request is taken up; without
    room a request that runs is put back, and its KV made anew.

    poll_steps: decode steps between two looks for new requests; a step with prompts is followed by one
    (SGLang's --scheduler-recv-interval, managers/scheduler_recv_skipper.py). gather_steps: steps that prompts
    wait for those of other dp ranks, while all ranks decode (TensorRT-LLM's attention_dp_config.timeout_iters,
    _torch/pyexecutor/py_executor.py).
    """

    most_tokens: int
    most_sequences: int
    kv_tokens: int
    mixes: bool
    splits: bool
    reserve: float
    poll_steps: int
    gather_steps: int


class Host(NamedTuple):
    """What comes on top of the devices' time, in seconds, and what they take as a share of the tables.

    step_s, sequence_s: a step, and each sequence in it. prefill_s: a step with prompts more. least_prefill_s:
    below which none ends, for it is launched kernel by kernel. api_s, api_token_s: before the scheduler sees
    a request, and each token of its prompt. decode, prefill: shares, of steps without and with prompts.
    """

    step_s: float = 0.0
    sequence_s: float = 0.0
    prefill_s: float = 0.0
    least_prefill_s: float = 0.0
    api_s: float = 0.0
    api_token_s: float = 0.0
    decode: float = 1.0
    prefill: float = 1.0
