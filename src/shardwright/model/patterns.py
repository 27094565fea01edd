"""Patterns of module names, as quantised checkpoints list what they convert and what they leave."""

import re

from shardwright.model.fields import Fields

EVERY_LINEAR = "Linear"
"""The class name that stands for all linear layers (compressed-tensors)."""

REPEATED_GROUP = re.compile(r"\)[*+{]")
"""What can make a match take time without end; lists of modules have no use for it."""


class Patterns:
    """Which module names a list speaks of.

    're:X' is a regular expression from the start of the name on (compressed-tensors). Anything else is a
    run of whole parts of the name, '*' standing for any text: 'gate' and 'mlp.gate' speak of
    'model.layers.0.mlp.gate', not of its gate_proj, 'model.layers.0*' and 'self_attn' of all below
    (transformers 5.23.0, quantizers_utils.should_convert_module; ModelOpt's wildcards).
    """

    def __init__(self, fields: Fields, *keys: str) -> None:
        """The lists in those fields together. Raises InputError for a list or an expression that is none."""
        runs: list[str] = []
        whole: list[str] = []
        for key in keys:
            for text in fields.texts(key):
                if text.startswith("re:"):
                    try:
                        re.compile(text[3:])
                    except (re.error, OverflowError, RecursionError):
                        fields.refuse(key, f"regular expressions after 're:', which {text!r} is not")
                    if REPEATED_GROUP.search(text):
                        fields.refuse(key, f"expressions without repeated groups, which {text!r} has")
                    whole.append(f"(?:{text[3:]})")
                elif text != EVERY_LINEAR:
                    runs.append(re.escape(re.sub(r"\*+", "*", text)).replace(r"\*", ".*"))
        self._whole = [re.compile(text) for text in whole]
        self._run = re.compile(rf"(?:.*\.)?(?:{'|'.join(runs)})(?:\..*)?") if runs else None

    def match(self, name: str) -> bool:
        """Whether the list speaks of the module."""
        return bool(self._run and self._run.fullmatch(name)) or any(one.match(name) for one in self._whole)
