"""Hypothesis strategies for layouts, shared by the tests of this folder."""

from hypothesis import strategies as st

from shardwright.layout.layout import Layout


def divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]


@st.composite
def layouts(draw: st.DrawFn, max_degree: int = 4, max_redundant: int = 3) -> Layout:
    """Any valid layout: folded, dense, disaggregated, with copies, redundant slots and uneven stages."""
    degree = st.integers(1, max_degree)
    tp, dp, pp, copies = (draw(degree) for _ in range(4))
    home = draw(st.sampled_from(["folded", "per_stage", "shared"]))
    if home != "folded":
        ep, etp, edp = (draw(degree) for _ in range(3))
    elif draw(st.booleans()):
        ep = draw(st.sampled_from(divisors(tp * dp)))
        etp = draw(st.sampled_from(divisors(tp * dp // ep)))
        edp = tp * dp // ep // etp
    else:
        ep = etp = edp = 1
    stage_layers = ()
    if pp > 1 and draw(st.booleans()):
        stage_layers = tuple(draw(st.lists(st.integers(1, 99), min_size=pp, max_size=pp)))
    return Layout(
        tp=tp,
        dp=dp,
        pp=pp,
        ep=ep,
        etp=etp,
        edp=edp,
        copies=copies,
        home=home,
        redundant=draw(st.integers(0, max_redundant)),
        stage_layers=stage_layers,
    )
