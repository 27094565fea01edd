"""A strategy as people write it: 'TP2-EP4-PP2-DP2' names degrees, not yet a layout."""

import re

from shardwright.errors import InputError
from shardwright.record import Count, Record

_NAMES = {
    "tp": ("tp", "attn_tp", "attention_tp", "tensor_parallel", "tensor_parallel_size"),
    "dp": ("dp", "attn_dp", "attention_dp", "dp_attention", "data_parallel", "data_parallel_size"),
    "pp": ("pp", "pipeline_parallel", "pipeline_parallel_size"),
    "ep": ("ep", "moe_ep", "expert_parallel", "expert_parallel_size"),
    "etp": ("etp", "moe_tp", "expert_tensor_parallel", "expert_tensor_parallel_size"),
    "edp": ("edp", "moe_dp"),
    "copies": ("x", "copies", "copy", "replicas"),
    "cp": ("cp", "pcp", "dcp", "attn_cp", "context_parallel", "context_parallel_size"),
    "sp": ("sp", "sequence_parallel", "sequence_parallel_size"),
}
"""Degree -> what people and engines call it (vLLM, SGLang, TensorRT-LLM, Megatron-LM)."""

_UNMODELLED = ("cp", "sp")
"""A degree of 1 states nothing, any other is refused."""

_FLAGS = re.IGNORECASE | re.ASCII
_SEPARATORS = re.compile(r"\A(?:[\s,;/|.+&×*()-]|x(?=\s*[a-z]))*", _FLAGS)
_DEGREE = re.compile(r"([a-z]+(?:[_-][a-z]+)*)\s*(?:[=:_-]\s*)?([0-9]+)", _FLAGS)
_WORD = re.compile(r"[^\s,;/|.+&×*()]+")


class Stated(Record):
    """The degrees that a string names; None where it names none."""

    text: str
    tp: Count | None = None
    dp: Count | None = None
    pp: Count | None = None
    ep: Count | None = None
    etp: Count | None = None
    edp: Count | None = None
    copies: Count | None = None


def parse_stated(text: str) -> Stated:
    """The degrees of a strategy string, in any order, case and punctuation.

    Raises InputError for an unknown or repeated name, a name without a degree, and a degree that is
    not a whole number from 1 to 10,000,000.

    >>> parse_stated("tp=2, EP-4 moe_tp2").model_dump(exclude_none=True)
    {'text': 'tp=2, EP-4 moe_tp2', 'tp': 2, 'ep': 4, 'etp': 2}
    """
    degrees: dict[str, int] = {}
    rest = text
    while rest := _SEPARATORS.sub("", rest):
        match = _DEGREE.match(rest)
        if match is None:
            word = _WORD.match(rest)
            raise InputError("layout", word[0] if word else text, "a name and a degree, such as TP2")
        axis, degree = _axis(match[1], match[0]), _degree(match[2], match[0])
        if axis in degrees:
            raise InputError("layout", match[0], f"each degree once, but {axis.upper()} is named twice")
        if axis in _UNMODELLED and degree != 1:
            raise InputError("layout", match[0], "1: context and sequence parallelism are not modelled")
        degrees[axis] = degree
        rest = rest[match.end() :]
    stated = {axis: degree for axis, degree in degrees.items() if axis not in _UNMODELLED}
    if not stated:
        allowed = "a strategy such as TP2-EP4-PP2-DP2, or a layout such as tp2.dp2.pp2/ep4"
        raise InputError("layout", text, allowed)
    return Stated.model_validate({"text": text.strip(), **stated})


def _axis(name: str, token: str) -> str:
    """The degree that `name` stands for."""
    plain = name.lower().replace("-", "_")
    for axis, names in _NAMES.items():
        if plain in names:
            return axis
    raise InputError("layout", token, "a degree of TP, DP, PP, EP, ETP, EDP or x (copies)")


def _degree(digits: str, token: str) -> int:
    if digits.startswith("0") or len(digits) > 8 or int(digits) > 10_000_000:
        raise InputError("layout", token, "a whole number from 1 to 10,000,000, without leading zeros")
    return int(digits)
