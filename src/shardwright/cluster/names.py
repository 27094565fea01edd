"""Finding one of several known names by what a person writes."""

import re
from difflib import get_close_matches

from shardwright.errors import InputError


def resolve_name(name: str, known: tuple[str, ...], field: str) -> str:
    """The one known name that is `name`; else its first words, or it starts or ends with it, contains it, or
    contains all its words. Case, spaces, hyphens and underscores do not count.

    Raises InputError, with the names that come near, when none or several fit.

    >>> resolve_name("a10", ("A10-24GB", "A100-SXM-80GB"), "cluster.gpu")
    'A10-24GB'
    """
    wanted = plain_name(name)
    plain = {plain_name(row): row for row in known}
    words = [plain_name(word) for word in re.split(r"[\s_-]+", name)]
    tests = (
        lambda key: key == wanted,
        lambda key: wanted in _first_words(plain[key]),
        lambda key: key.startswith(wanted),
        lambda key: key.endswith(wanted),
        lambda key: wanted in key,
        lambda key: all(word in key for word in words),
    )
    for fits in tests if wanted else ():
        found = [row for key, row in plain.items() if fits(key)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(field, name, f"one of those that it fits: {', '.join(found)}")
    near = [plain[key] for key in get_close_matches(wanted, plain, n=2, cutoff=0.35)]
    hint = f" (near: {', '.join(near)})" if near else ""
    raise InputError(field, name, f"one of {', '.join(known)}{hint}, or fields of your own")


def plain_name(name: str) -> str:
    """A name without case, spaces, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "", name).lower()


def _first_words(name: str) -> list[str]:
    """'RTX-4090-24GB': 'rtx' and 'rtx4090'."""
    return [plain_name(name[: cut.start()]) for cut in re.finditer("-", name)]
