"""How a server takes up requests: the numbers that a simulation takes."""

from typing import NamedTuple


class Policy(NamedTuple):
    """How requests are taken up. Of one attention rank.

    most_tokens: of a step. most_sequences: that run. kv_tokens: that its KV cache holds. mixes: decoded
    sequences go on in a step with prompts, else those of the same rank wait. splits: a prompt that does not
    fit is cut. reserve: share of the answers to come that is kept free when a request is taken up; without
    room a request that runs is put back, and its KV made anew.

    poll_steps: decode steps between two looks for new requests; a step with prompts is followed by one
    (SGLang's --scheduler-recv-interval, managers/scheduler_recv_skipper.py). gather_steps: steps that prompts
    wait for those of other dp ranks, while all ranks decode (timeout_iters of TensorRT-LLM's
    attention_dp_config, _torch/pyexecutor/py_executor.py).
    """

    most_tokens: int
    most_sequences: int
    kv_tokens: int
    mixes: bool
    splits: bool
    reserve: float
    poll_steps: int
    gather_steps: int
