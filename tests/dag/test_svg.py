"""The drawing is well-formed whatever its names, and its boxes are the timeline's, in their lanes."""

import itertools
from collections import defaultdict
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright.dag.svg import COLOURS, LEFT, WIDTH, svg_text
from tests.dag.reference_timeline import APART, FOLDED, LARGE, SHARED, played

SPACE = "{http://www.w3.org/2000/svg}"


def boxes(text: str) -> list[tuple[float, float, float, str, str]]:
    """(y, x, width, colour, what it says) of each slice."""
    return [
        (float(box.get("y")), float(box.get("x")), float(box.get("width")), box.get("fill"), box[0].text)
        for box in ElementTree.fromstring(text).iter(f"{SPACE}rect")
        if len(box) and box.get("fill") in COLOURS.values()
    ]


@pytest.mark.parametrize("order", ["serial", "pipelined", "overlapped"])
@pytest.mark.parametrize("layout", [FOLDED, SHARED, APART, LARGE])
def test_slices_stand_in_lanes_to_scale_and_do_not_overlap(layout: str, order: str) -> None:
    timeline = played(layout, order)
    lanes = defaultdict(list)
    for y, x, width, *_ in boxes(svg_text(timeline, layout)):
        lanes[y].append((x, x + width))
        assert x >= LEFT and x + width <= LEFT + WIDTH + 0.02
    timed = [piece for piece in timeline.slices if piece.end_s > piece.start_s]
    assert sum(map(len, lanes.values())) == len(timed)
    assert len(lanes) == len({(piece.node.worker, piece.engine) for piece in timed})
    busy_s = sum(piece.end_s - piece.start_s for piece in timed)
    drawn = sum(end - start for spans in lanes.values() for start, end in spans)
    assert drawn == pytest.approx(busy_s / timeline.makespan_s * WIDTH, abs=0.01 * len(timed))
    for spans in lanes.values():
        spans.sort()
        assert all(before[1] <= after[0] + 0.02 for before, after in itertools.pairwise(spans))


def test_labels_name_workers_with_their_gpus_and_micro_batches() -> None:
    root = ElementTree.fromstring(svg_text(played(LARGE), "large"))
    texts = [text.text for text in root.iter(f"{SPACE}text")]
    assert texts[0] == "large"
    assert {"stage 0 attention+experts, 1024 GPUs", "stage 1 attention+experts, 1024 GPUs"} <= set(texts)
    assert texts.count("micro-batch 0") == texts.count("micro-batch 1") == 2
    assert texts.count("0 ms") == 2 and "all-reduce" in texts


def test_no_two_texts_of_a_lane_head_share_a_place() -> None:
    root = ElementTree.fromstring(svg_text(played(SHARED, "overlapped"), "shared"))
    places = [(text.get("x"), text.get("y")) for text in root.iter(f"{SPACE}text")]
    assert len(set(places)) == len(places)
    assert max(float(y) for _, y in places) < float(root.get("height"))


@given(st.text())
def test_any_name_is_well_formed_xml(name: str) -> None:
    root = ElementTree.fromstring(svg_text(played(LARGE), name))
    assert next(root.iter(f"{SPACE}text")) is not None
