"""Requests to a server that speaks OpenAI's API: what it serves, and greedy answers to prompts of token ids.

`return_token_ids` is vLLM's own (0.32.0, entrypoints/openai/completion/protocol.py); a server that does not
know it answers with text alone.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from shardwright.launch.start import EngineFailedError
from shardwright.record import Record

SHOWN = 500
"""Characters of an answer that is shown."""


class Answer(Record):
    """tokens: ids of the answer; empty where the server gives text alone. num_tokens: by its own count."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    num_tokens: int


def served_model(url: str, timeout_s: float = 10.0) -> str:
    """The name under which the server serves its model. Raises EngineFailedError."""
    try:
        return str(_asked(f"{url}/v1/models", None, timeout_s)["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        raise EngineFailedError(f"{url} names no model at /v1/models") from error


def version_of(url: str, timeout_s: float = 10.0) -> str:
    """The engine's version, by vLLM's /version; "" where the server does not say."""
    try:
        found = _asked(f"{url}/version", None, timeout_s)
        return str(found["version"])
    except (EngineFailedError, KeyError, TypeError):
        return ""


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


def _asked(url: str, body: dict[str, Any] | None, timeout_s: float) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        said = error.read(SHOWN).decode(errors="replace")
        raise EngineFailedError(f"{url} answers {error.code} {error.reason}: {said}") from None
    except (OSError, ValueError) as error:
        raise EngineFailedError(f"{url} does not answer: {error}") from None
