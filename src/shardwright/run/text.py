"""Text and tokens of a checkpoint: its tokenizer.json alone, and the tokens that end an answer."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from shardwright.errors import InputError
from shardwright.model.fields import Fields, read_json
from shardwright.run.share import Prompt

TOKENIZER, GENERATION, CONFIG = "tokenizer.json", "generation_config.json", "config.json"


class Text:
    """Writes text as tokens and reads it back; needs a tokenizer for the first only.

    tokenizer.json is data: the tokenizers library runs nothing that stands in it. Raises InputError for a
    file that it cannot read.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / TOKENIZER
        self._tokenizer: Tokenizer | None = None
        if not self._file.exists():
            return
        try:
            self._tokenizer = Tokenizer.from_file(str(self._file))
        except Exception as error:  # the library raises no other kind
            raise InputError(TOKENIZER, str(self._file), f"a tokenizer's file ({error})") from error
        self._tokenizer.no_truncation()  # as it may be stored: a prompt is never cut in silence
        self._tokenizer.no_padding()

    def encode(self, text: str) -> Prompt:
        """Token ids, with the first or last ones that the tokenizer adds to every text.

        Raises InputError without a tokenizer, for an empty text and for one that is no Unicode.
        """
        if self._tokenizer is None:
            allowed = f"a checkpoint with {TOKENIZER}; without it, give token ids: --prompt-ids '1,2,3'"
            raise InputError("tokenizer", None, allowed, where=str(self._file.parent))
        try:
            found: Prompt = self._tokenizer.encode(text).ids if text else []
        except TypeError:  # half a surrogate pair
            found = []
        if not found:
            raise InputError("prompt", text, "text of one token or more")
        return found

    def decode(self, tokens: Sequence[int]) -> str | None:
        """The text of tokens, without special ones and those that the tokenizer lacks; None without one."""
        if self._tokenizer is None:
            return None
        text: str = self._tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


def read_stop(folder: Path) -> frozenset[int]:
    """The tokens that end an answer: eos_token_id of generation_config.json, else of config.json.

    One id, a list, or null, as transformers writes them. Raises InputError for anything else.
    """
    for name in (GENERATION, CONFIG):
        if (folder / name).exists():
            found = _token_ids(read_json(folder, in_folder=name), "eos_token_id")
            if found:
                return found
    return frozenset()


def _token_ids(fields: Fields, key: str) -> frozenset[int]:
    value = fields.values.get(key)
    listed = value if isinstance(value, list) else [] if value is None else [value]
    if not all(type(token) is int and token >= 0 for token in listed):
        fields.refuse(key, "a token id, a list of them, or null")
    return frozenset(listed)
