"""Text that Kubernetes hands on as it was, and YAML that any reader reads alike."""

import re
from typing import Any

import yaml

from shardwright.errors import InputError

Manifest = dict[str, Any]

PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./-]*")
"""Strings that are left without quotes, unless they are WORDS: no reader takes them for anything else.

YAML 1.1 and 1.2 differ on what is a number (1e3, 0o17, 1:30), and Kubernetes' reader is neither PyYAML's.
"""
WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}


class _Dumper(yaml.SafeDumper):
    """Block style, no anchors, strings in quotes but for plain words."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"'
    if PLAIN.fullmatch(text) and text.lower() not in WORDS:
        style = ""
    elif "\n" in text and text.isascii():
        style = "|"  # where PyYAML finds that text cannot stand in a block, it takes quotes
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def dumped(manifest: Manifest) -> str:
    """A manifest as YAML: keys in their order, the same text for the same manifest."""
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=float("inf"), allow_unicode=False)


def literal(text: str, field: str) -> str:
    """`text` so that it comes out of Kubernetes' expansion of $(NAME) as it was.

    Every $ is doubled: $$ comes out as $ wherever it stands, and a $ alone may garble what follows
    (Kubernetes, third_party/forked/golang/expansion/expand.go). Raises InputError for what no process
    can be given.
    """
    return storable(text, field).replace("$", "$$")


def storable(text: str, field: str) -> str:
    """`text` itself. Raises InputError where it holds what neither a process nor a file in UTF-8 can hold."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError(field, text, "text without NUL and lone surrogates")
    return text
