"""The canonical text: printing and parsing are inverse, and nothing else parses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout, is_canonical, parse_layout
from tests.layout.layout_strategies import layouts

CASES = {
    "tp2.dp2.pp2/ep4": Layout(tp=2, dp=2, pp=2, ep=4),
    "tp2.dp2.pp2+ep4": Layout(tp=2, dp=2, pp=2, ep=4, home="per_stage"),
    "tp2.pp2+ep4.shared.x2": Layout(tp=2, pp=2, ep=4, home="shared", copies=2),
    "tp2.dp8.pp2/ep4.etp2.edp2": Layout(tp=2, dp=8, pp=2, ep=4, etp=2, edp=2),
    "tp2.pp2.x2": Layout(tp=2, pp=2, copies=2),
    "tp1": Layout(),
    "tp1.x2": Layout(copies=2),
    "tp1+ep1": Layout(home="per_stage"),
    "tp1+ep1.r8.shared": Layout(home="shared", redundant=8),
    "tp1/ep1.r8": Layout(redundant=8),
    "tp2.pp2:9:7/ep2": Layout(tp=2, pp=2, ep=2, stage_layers=(9, 7)),
    "dp4/ep4.r8.x3": Layout(dp=4, ep=4, redundant=8, copies=3),
    "tp2+etp2": Layout(tp=2, etp=2, home="per_stage"),
}


@pytest.mark.parametrize(("text", "layout"), CASES.items())
def test_known_texts(text: str, layout: Layout) -> None:
    assert format_layout(layout) == text
    assert parse_layout(text) == layout
    assert is_canonical(text)


@given(layouts(max_degree=6, max_redundant=9))
def test_print_then_parse_is_identity(layout: Layout) -> None:
    assert parse_layout(format_layout(layout)) == layout


@given(layouts(), layouts())
def test_two_layouts_never_share_a_text(one: Layout, other: Layout) -> None:
    assert (format_layout(one) == format_layout(other)) == (one == other)


def test_largest_degrees_round_trip() -> None:
    layout = Layout(tp=10_000_000, pp=10_000_000, ep=10_000_000, home="per_stage", copies=10_000_000)
    assert parse_layout(format_layout(layout)) == layout


def test_explicit_ones_are_read_and_not_printed() -> None:
    assert format_layout(parse_layout("tp2.dp1.pp1/ep2.etp1.edp1.x1")) == "tp2/ep2"
    assert format_layout(parse_layout("tp2/ep1")) == "tp2"


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("", "''"),
        ("tp2..dp2", "''"),
        ("/ep4", "''"),
        ("tp2/", "''"),
        ("tp0", "tp0"),
        ("tp02", "tp02"),
        ("tp", "tp"),
        ("tp-2", "tp-2"),
        ("tp²", "tp²"),
        ("tp٢", "tp٢"),
        ("TP2", "TP2"),
        ("tp2 ", "tp2 "),
        ("tp2\n", "tp2"),
        ("tp2.tp2", "tp2"),
        ("dp2.tp2", "tp2"),
        ("tp2.ep2", "ep2"),
        ("tp2/tp2", "tp2"),
        ("tp2.x2/ep2", "x2"),
        ("tp2/ep2.shared", "shared"),
        ("tp2+ep2.shared2", "shared2"),
        ("tp2+shared.ep2", "ep2"),
        ("tp2/ep2+ep2", "ep2+ep2"),
        ("tp2:3", "tp2:3"),
        ("pp2:9:", "pp2:9:"),
        ("tp2/r0", "r0"),
        ("tp" + "9" * 5000, "tp999"),
        ("tp2.x2.x2", "x2"),
    ],
)
def test_other_texts_are_refused_by_token(text: str, token: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_layout(text)
    assert refused.value.field == "layout"
    assert token.strip("'") in str(refused.value.value)
    assert not is_canonical(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tp2.dp2.pp2/ep3", "1 x 3 x 1 = 3 and 2 x 2 = 4"),
        ("pp2:9:7:1", "must be 2 counts"),
        ("pp1:9", "pp > 1"),
        ("tp99999999", "10000000"),
        ("pp2:9:99999999", "10000000"),
    ],
)
def test_degrees_that_do_not_fit_are_refused_with_the_reason(text: str, reason: str) -> None:
    assert is_canonical(text)
    with pytest.raises(InputError, match=reason):
        parse_layout(text)


@given(st.text(alphabet="tpdex.:/+rshad0123456789 -", max_size=20))
def test_any_text_parses_or_is_refused_and_what_parses_prints_a_fixed_point(text: str) -> None:
    try:
        layout = parse_layout(text)
    except InputError:
        return
    assert parse_layout(format_layout(layout)) == layout
