"""DOT: every kind of node and edge once, and nothing that a name holds breaks out of its quotes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.dag.dot import dot_text
from tests.dag.reference_timeline import APART, FOLDED, LARGE, SHARED, played

NODE = re.compile(r"^\s*(w\d+g\d+n\d+) \[label=\"((?:[^\"\\]|\\.)*)\"", re.MULTILINE)
EDGE = re.compile(r"^\s*(w\d+g\d+n\d+) -> (w\d+g\d+n\d+)(.*);$", re.MULTILINE)


@pytest.mark.parametrize("layout", [FOLDED, SHARED, APART, LARGE])
def test_edges_join_nodes_that_are_drawn_and_braces_close(layout: str) -> None:
    text = dot_text(played(layout).graph, layout)
    names = [name for name, _ in NODE.findall(text)]
    edges = [(one, two) for one, two, _ in EDGE.findall(text)]
    assert len(set(names)) == len(names) and len(set(edges)) == len(edges)
    assert {name for edge in edges for name in edge} == set(names), "no operation stands alone"
    assert text.count("{") == text.count("}")


def test_equal_layers_are_drawn_once_a_gpu() -> None:
    text = dot_text(played(FOLDED).graph, "reference")
    assert text.count('label="layers 0-7  x8"') == text.count('label="layers 8-15  x8"') == 4
    labels = [label.split("\\n")[0] for _, label in NODE.findall(text)]
    assert labels.count("dispatch") == labels.count("combine") == 8
    assert labels.count("embedding") == labels.count("head") == 4
    transfers = [two for one, two, look in EDGE.findall(text) if one[1] == "0" and two[1] == "1"]
    assert len(transfers) == 4 and "layers 0-7" in text


def test_beyond_8_gpus_a_cluster_is_a_worker() -> None:
    text = dot_text(played(LARGE).graph, "large")
    assert 'label="stage 1 attention+experts (1024 GPUs)"' in text and "GPU 0:" not in text
    assert len(NODE.findall(text)) < 40


@pytest.mark.parametrize("layout", [FOLDED, SHARED])
def test_the_drawing_of_batched_exchanges_and_of_more_steps_has_no_more_nodes(layout: str) -> None:
    plain = dot_text(played(layout).graph, "")
    batched = dot_text(played(layout, batched=True).graph, "")
    longer = dot_text(played(layout, num_steps=3).graph, "")
    label = lambda text: [label.split("\\n")[0] for _, label in NODE.findall(text)]  # noqa: E731
    assert label(plain) == label(batched) == label(longer)
    assert len(EDGE.findall(longer)) > len(EDGE.findall(plain)), "the next step waits for the last token"


@given(st.text())
def test_a_name_stays_within_its_quotes(name: str) -> None:
    first = dot_text(played(LARGE).graph, name).splitlines()[1]
    assert re.fullmatch(r'  label="(?:[^"\\]|\\[\\"n])*"; labelloc=t;', first)
