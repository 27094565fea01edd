"""Names and labels that Kubernetes accepts, from text that anybody wrote."""

import hashlib
import re

from shardwright.launch.kubernetes.options import MAX_NAME


def dns_label(text: str) -> str:
    """A DNS label of at most MAX_NAME characters, as RFC 1035 has it (a Service's name starts with a letter).

    >>> dns_label("Qwen/Qwen3-30B-A3B")
    'qwen-qwen3-30b-a3b'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if plain and plain[0].isdigit():
        plain = f"m-{plain}"
    if plain and len(plain) <= MAX_NAME:
        return plain
    # What is cut or left empty would make two names one; the digest keeps them apart.
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{plain[: MAX_NAME - 9].rstrip('-') or 'model'}-{digest}"


def label_value(text: str) -> str:
    """A value for a label: at most 63 of letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:63].strip("-._")
