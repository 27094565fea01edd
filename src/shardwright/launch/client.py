"""Requests to a server that speaks OpenAI's API: what it serves, and greedy answers to prompts of token ids.

`return_token_ids` is vLLM's own (0.32.0, entrypoints/openai/completion/protocol.py); a server that does not
know it answers with text alone.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from shardwright.launch.inspect.served import model_cards, names_of
from shardwright.launch.inspect.site import Site
from shardwright.launch.start import EngineFailedError, direct
from shardwright.record import Record

SHOWN = 500
"""Characters of an answer that is shown."""


class Answer(Record):
    """tokens: ids of the answer; empty where the server gives text alone. num_tokens: by its own count."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    num_tokens: int


def served_model(url: str) -> str:
    """The name under which the server serves its model.

    Raises InputError for what is no such server, EnvironmentLacksError where none answers.
    """
    site = Site(url)
    names = names_of(model_cards(site))
    if not names:
        raise site.wrong("/v1/models", "the name of a model")
    return names[0]


def version_of(url: str) -> str:
    """The engine's version, by vLLM's /version; "" where the server does not say."""
    found = Site(url).document("/version")
    return str(found.get("version", "")) if isinstance(found, dict) else ""


def answer_to(
    url: str, model: str, prompt: Sequence[int], num_tokens: int, timeout_s: float = 120.0
) -> Answer:
    """The greedy answer of exactly num_tokens. Raises EngineFailedError."""
    asked = {
        "model": model,
        "prompt": list(prompt),
        "max_tokens": num_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    found = _asked(f"{url}/v1/completions", asked, timeout_s)
    try:
        tokens = found["choices"][0].get("token_ids") or ()
        return Answer(
            prompt=tuple(prompt), tokens=tuple(tokens), num_tokens=int(found["usage"]["completion_tokens"])
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        shown = json.dumps(found)[:SHOWN]
        raise EngineFailedError(f"{url} answers a completion with what is none: {shown}") from error


def _asked(url: str, body: dict[str, Any], timeout_s: float) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with direct().open(request, timeout=timeout_s) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        said = error.read(SHOWN).decode(errors="replace")
        raise EngineFailedError(f"{url} answers {error.code} {error.reason}: {said}") from None
    except (OSError, ValueError) as error:
        raise EngineFailedError(f"{url} does not answer: {error}") from None
