"""The nearest legal layouts, against a search over every layout by the definition of the distance."""

from itertools import product
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright.engine.catalog import ENGINES
from shardwright.engine.engine import broken
from shardwright.engine.nearest import AXES, nearest
from shardwright.layout.layout import Layout
from shardwright.layout.stated import Stated
from tests.engine.engine_strategies import DENSE, LATENT, REFERENCE

POWERS = (1, 2, 4, 8, 16)
EVERY = [
    Layout(tp=tp, dp=dp, pp=pp, ep=ep, etp=etp, edp=tp * dp // (ep * etp))
    for tp, dp, pp, ep, etp in product(POWERS, repeat=5)
    if tp * dp % (ep * etp) == 0
]


def distance(layout: Layout, stated: Stated) -> tuple[float, ...]:
    wanted = {axis: getattr(stated, axis) for axis in AXES}
    moved = {axis: abs(log2(getattr(layout, axis) / (wanted[axis] or 1))) for axis in AXES}
    nominal = (stated.tp or 1) * (stated.dp or 1) * (stated.pp or 1)
    return (
        sum(moved[axis] for axis in AXES if wanted[axis]),
        abs(log2(layout.num_gpus / nominal)),
        sum(moved[axis] for axis in AXES if not wanted[axis]),
    )


@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("model", [REFERENCE, LATENT], ids=lambda model: model.name)
def test_no_legal_layout_is_nearer(engine, model):
    rules = ENGINES[engine].rules
    legal = [layout for layout in EVERY if not broken(rules, layout, model, None)]

    @settings(max_examples=8, deadline=None)
    @given(st.tuples(*[st.sampled_from([None, 1, 2, 4])] * 4))
    def holds(degrees):
        stated = Stated(text="any", **dict(zip(("tp", "dp", "pp", "ep"), degrees, strict=True)))
        found = nearest(rules, stated, model)
        best = min(distance(layout, stated) for layout in legal)
        assert {distance(layout, stated) for layout in found} == {best}
        assert set(map(str, found)) == {str(one) for one in legal if distance(one, stated) == best}
        assert found[0].tp == max(layout.tp for layout in found)

    holds()


def test_a_layout_that_is_legal_is_its_own_nearest():
    stated = Stated(text="any", tp=2, dp=2, pp=2, ep=4)
    assert nearest(ENGINES["vllm"].rules, stated, REFERENCE) == (Layout(tp=2, dp=2, pp=2, ep=4),)


def test_dp_of_a_dense_model_becomes_copies_and_its_gpus_are_kept():
    stated = Stated(text="any", tp=8, dp=3, ep=4, copies=2)
    assert nearest(ENGINES["vllm"].rules, stated, DENSE) == (Layout(tp=4, pp=2, copies=6),)


def test_a_degree_that_is_no_power_of_two_is_kept_where_it_can_be():
    stated = Stated(text="any", tp=12, pp=3)
    assert nearest(ENGINES["vllm"].rules, stated, DENSE) == (Layout(tp=12, pp=3),)
