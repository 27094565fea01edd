"""Strategies as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.errors import InputError
from shardwright.layout.stated import parse_stated


@pytest.mark.parametrize(
    ("text", "degrees"),
    [
        ("TP2-EP4-PP2-DP2", {"tp": 2, "ep": 4, "pp": 2, "dp": 2}),
        ("EP64-TP8-PP2-DP2", {"tp": 8, "ep": 64, "pp": 2, "dp": 2}),
        ("tp=2, ep=4", {"tp": 2, "ep": 4}),
        ("TP2 EP4", {"tp": 2, "ep": 4}),
        ("TP2xEP4", {"tp": 2, "ep": 4}),
        ("TP2 x EP4 x2", {"tp": 2, "ep": 4, "copies": 2}),
        ("TP2×EP4", {"tp": 2, "ep": 4}),
        ("tp2ep4pp2", {"tp": 2, "ep": 4, "pp": 2}),
        ("TP-2/EP-4", {"tp": 2, "ep": 4}),
        ("  Tp: 2 | eP_4  ", {"tp": 2, "ep": 4}),
        ("ETP2+EDP4", {"etp": 2, "edp": 4}),
        ("MOE_TP2 moe-ep4 MoE_DP=2", {"etp": 2, "ep": 4, "edp": 2}),
        ("attn_tp2.attn_dp4", {"tp": 2, "dp": 4}),
        ("--tensor-parallel-size 4 --pipeline-parallel-size 2", {"tp": 4, "pp": 2}),
        ("TP8 copies2", {"tp": 8, "copies": 2}),
        ("TP8-CP1-SP1", {"tp": 8}),
        ("tp10000000", {"tp": 10_000_000}),
    ],
)
def test_degrees(text: str, degrees: dict[str, int]) -> None:
    stated = parse_stated(text)
    assert stated.model_dump(exclude_none=True) == {"text": text.strip(), **degrees}


@pytest.mark.parametrize(
    ("text", "named", "allowed"),
    [
        ("", "", "TP2-EP4-PP2-DP2"),
        (" - ", " - ", "TP2-EP4-PP2-DP2"),
        ("CP1", "CP1", "TP2-EP4-PP2-DP2"),
        ("TP2-TP4", "TP4", "TP is named twice"),
        ("TP2-attn_tp2", "attn_tp2", "TP is named twice"),
        ("TP2-CP2", "CP2", "not modelled"),
        ("TP2-SP2", "SP2", "not modelled"),
        ("TP2-QP4", "QP4", "a degree of TP"),
        ("TP2-EP0", "EP0", "from 1"),
        ("TP02", "TP02", "leading zeros"),
        ("TP2-EP10000001", "EP10000001", "10,000,000"),
        ("TP" + "9" * 9999, "TP" + "9" * 9999, "10,000,000"),
        ("TP2-EP", "EP", "a name and a degree"),
        ("TP=-2", "TP=-2", "a name and a degree"),
        ("TP2.5", "5", "a name and a degree"),
        ("TP²", "TP²", "a name and a degree"),
        ("TP٢", "TP٢", "a name and a degree"),
        ("2-4-2", "2-4-2", "a name and a degree"),
        ("TP2\u00a0", "TP2\u00a0", "a name and a degree"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, named: str, allowed: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_stated(text)
    assert refused.value.value == named
    assert allowed in refused.value.allowed


DEGREES = st.dictionaries(
    st.sampled_from(["tp", "dp", "pp", "ep", "etp", "edp", "x"]), st.integers(1, 10_000_000), min_size=1
)


@given(
    DEGREES,
    st.sampled_from(["-", " ", ", ", "/", "x", ""]),
    st.sampled_from(["", "=", "-", ": "]),
    st.randoms(),
)
def test_order_case_and_punctuation_do_not_matter(
    degrees: dict[str, int], separator: str, joiner: str, random: object
) -> None:
    tokens = [
        (name.upper() if random.random() < 0.5 else name) + joiner + str(degree)  # type: ignore[attr-defined]
        for name, degree in degrees.items()
    ]
    random.shuffle(tokens)  # type: ignore[attr-defined]
    found = parse_stated(separator.join(tokens)).model_dump(exclude_none=True)
    found.pop("text")
    assert found == {("copies" if name == "x" else name): degree for name, degree in degrees.items()}


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        stated = parse_stated(text)
    except InputError:
        return
    assert any(value is not None for field, value in stated if field != "text")
