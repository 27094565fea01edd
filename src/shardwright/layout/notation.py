"""The canonical text of a layout: tp2.dp2.pp2/ep4. It prints and parses without loss.

    attention part   tp, dp, pp            pp2:9:7 states the layers of each stage
    expert part      '/' folded or '+' on GPUs of their own, then ep, etp, edp, r (redundant slots), shared
    last             x (copies)

What is 1 is left out; a part in which all is 1 keeps its first axis: tp1, tp1+ep1.
"""

import re

from pydantic import ValidationError

from shardwright.errors import InputError
from shardwright.layout.layout import Layout

_ATTENTION = {"tp": "tp", "dp": "dp", "pp": "pp"}
_EXPERTS = {"ep": "ep", "etp": "etp", "edp": "edp", "r": "redundant"}
_SHARED = {"shared": "home"}
_COPIES = {"x": "copies"}
"""Axis as written -> field of Layout, in the order of printing."""

_NUMBER = "[1-9][0-9]{0,8}"  # more digits than any Count has; Layout refuses what is still too large
_FORMS = {"pp": f"{_NUMBER}(:{_NUMBER})*", "shared": ""}
"""What follows an axis, where it is not one number."""


def format_layout(layout: Layout) -> str:
    """The canonical text of `layout`.

    >>> format_layout(Layout(tp=2, pp=2, ep=4, home="shared", copies=2))
    'tp2.pp2+ep4.shared.x2'
    """
    attention = _tokens(layout, _ATTENTION) or ["tp1"]
    if layout.stage_layers:
        attention[-1] += "".join(f":{layers}" for layers in layout.stage_layers)
    text, copies = ".".join(attention), _tokens(layout, _COPIES)
    experts = _tokens(layout, _EXPERTS)
    if layout.home == "folded" and not experts:
        return ".".join([text, *copies])
    if layout.expert_ranks == 1:
        experts.insert(0, "ep1")
    if layout.home == "shared":
        experts.append("shared")
    return text + ("/" if layout.home == "folded" else "+") + ".".join(experts + copies)


def parse_layout(text: str) -> Layout:
    """The layout that a canonical text names.

    Axes stand in canonical order, each at most once; an explicit 1 is allowed.
    Raises InputError when a token has another form, or when the degrees contradict each other.

    >>> parse_layout("tp2.dp2.pp2/ep4").num_gpus
    8
    """
    degrees = _degrees(text)
    try:
        return Layout.model_validate(degrees)
    except ValidationError as refused:
        error = refused.errors()[0]
        axis = "".join(f"{part}: " for part in error["loc"])
        reason = error["msg"].removeprefix("Value error, ")
        raise InputError("layout", text, f"degrees that fit together: {axis}{reason}") from None


def is_canonical(text: str) -> bool:
    """Whether `text` has the form of a layout; parse_layout may still find that its degrees do not fit.

    Any other text is a strategy as people write it, for parse_stated.

    >>> is_canonical("tp2.pp2"), is_canonical("TP2-PP2"), is_canonical("tp2.ep4")
    (True, False, False)
    """
    try:
        _degrees(text)
    except InputError:
        return False
    return True


def _tokens(layout: Layout, axes: dict[str, str]) -> list[str]:
    """The axes that are not at their default, as they are printed."""
    degrees = {axis: (field, getattr(layout, field)) for axis, field in axes.items()}
    default = {field: row.default for field, row in Layout.model_fields.items()}
    return [f"{axis}{degree}" for axis, (field, degree) in degrees.items() if degree != default[field]]


def _degrees(text: str) -> dict[str, object]:
    """The fields of Layout that `text` names; whether they fit together is Layout's to say."""
    mark = next((character for character in text if character in "/+"), "")
    if not mark:
        return _read(text, text, _ATTENTION | _COPIES)
    attention, experts = text.split(mark, maxsplit=1)
    own = {"home": "per_stage"} if mark == "+" else {}
    axes = _EXPERTS | (_SHARED if own else {}) | _COPIES
    return _read(text, attention, _ATTENTION) | own | _read(text, experts, axes)


def _read(text: str, part: str, axes: dict[str, str]) -> dict[str, object]:
    """The degrees of one part of `text`: tokens joined by '.', in the order of `axes`."""
    degrees: dict[str, object] = {}
    left = list(axes)
    for token in part.split("."):
        axis = token.rstrip("0123456789:")
        numbers = token[len(axis) :]
        if axis not in left or not re.fullmatch(_FORMS.get(axis, _NUMBER), numbers):
            allowed = f"one of {', '.join(left)}" if left else "nothing more"
            form = "in the form tp2.dp2.pp2/ep4"
            raise InputError("layout", token, f"{allowed} here in {_shown(text)}, {form}")
        left = left[left.index(axis) + 1 :]
        degree, *stage_layers = numbers.split(":")
        degrees[axes[axis]] = int(degree) if degree else axis
        if stage_layers:
            degrees["stage_layers"] = tuple(map(int, stage_layers))
    return degrees


def _shown(text: str) -> str:
    """`text` for a message, cut where it is long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
