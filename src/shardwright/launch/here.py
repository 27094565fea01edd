"""A launch that runs on this machine: what it realised, and its answers to a few requests, as a Check."""

from collections.abc import Sequence

from shardwright.engine.engine import Engine
from shardwright.errors import InputError
from shardwright.launch.check import Check, check_launch
from shardwright.launch.client import Answer, answer_to, served_model
from shardwright.launch.processes import session_members
from shardwright.launch.realised import realised_by_vllm
from shardwright.launch.start import Running, Told, explaining
from shardwright.layout.notation import parse_layout
from shardwright.plan.plan import Plan

READ_BACK = ("vllm",)
"""Engines whose lines are known."""

ANSWER_TOKENS = 8
PROMPT_TOKENS = 16
REQUESTS_A_RANK = 2
"""Of each DP rank of a copy, so that each has something to do."""


def check_read_back(engine: Engine) -> None:
    """Raises InputError for an engine whose lines are not known."""
    if engine.name not in READ_BACK:
        raise InputError("--check", engine.id, f"an engine that is read back: {', '.join(READ_BACK)}")


def checked(
    plan: Plan, engine: Engine, running: Sequence[Running], startup_s: float | None, told: Told
) -> Check:
    """Read back what the processes realised, ask every server, and hold both against the plan.

    Raises EngineFailedError where a server fails.
    """
    assert engine.name in READ_BACK
    prompts, num_tokens = _prompts(plan)
    answers: list[Answer] = []
    servers = [each.url for each in running if each.url is not None]
    with explaining(running):
        for url in servers:
            model = served_model(url)
            for number, prompt in enumerate(prompts):
                told(f"request {number + 1} of {len(prompts)} to {url}")
                answers.append(answer_to(url, model, prompt, num_tokens))
    copies = []
    for replica in sorted({each.process.replica for each in running}):
        of_copy = [each for each in running if each.process.replica == replica]
        ranks = [rank for each in of_copy for rank in each.process.ranks]
        copies.append((ranks, realised_by_vllm(each.text() for each in of_copy)))
    members = {member for each in running for member in session_members(each.leader.pid)}
    return check_launch(
        plan,
        engine,
        copies,
        answers,
        asked=(len(prompts) * len(servers), num_tokens),
        startup_s=startup_s,
        resident_bytes=sum(member.resident_bytes for member in members),
    )


def _prompts(plan: Plan) -> tuple[list[list[int]], int]:
    """Token ids that differ from prompt to prompt, and how many tokens to answer with."""
    deployment = plan.deployment
    longest, vocab = deployment.workload.max_model_len, deployment.model.vocab
    num_tokens = max(1, min(ANSWER_TOKENS, longest // 2))
    length = max(1, min(PROMPT_TOKENS, longest - num_tokens))
    count = REQUESTS_A_RANK * parse_layout(plan.pools[0].layout).dp
    return [
        [(31 * number + 7 * place + 11) % vocab for place in range(length)] for number in range(count)
    ], num_tokens
