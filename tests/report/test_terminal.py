"""What a reader sees at 80 columns, and in a pipe."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from shardwright.report.audit_document import audit_document
from shardwright.report.document import Code, Document, Paragraph, Table, columns, in_brief, in_detail
from shardwright.report.markdown import render
from shardwright.report.plan_document import plan_document
from shardwright.report.pool_blocks import targets_table
from shardwright.report.words import MISSED, UNCERTAIN
from tests.report.audit_record import AUDIT
from tests.report.drawing import drawn
from tests.report.records import CHECKS, PLAN, pool

PLANNED, AUDITED = plan_document(PLAN), audit_document(AUDIT)


def without_code(document: Document) -> Document:
    return tuple(block for block in document if not isinstance(block, Code))


@pytest.mark.parametrize("document", [PLANNED, AUDITED], ids=["plan", "audit"])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_nothing_is_wider_than_the_console(document, width):
    lines = drawn(without_code(document), width=width).splitlines()
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [40, 80])
def test_canonical_names_are_never_broken(width):
    text = drawn(AUDITED, width=width)
    for row in AUDIT.readings:
        assert row.layout in text
    assert PLAN.alternatives[1].layout in drawn(PLANNED, width=width)


def test_a_command_is_one_line_to_copy():
    argv = ("vllm", "serve", "m", *(f"--option-{n}=value" for n in range(12)))
    plan = PLAN.model_copy(update={"pools": (pool(command=argv),)})
    assert " ".join(argv) in drawn(plan_document(plan)).splitlines()


def test_colour_on_a_terminal_only():
    assert "\x1b" not in drawn(PLANNED)
    assert "\x1b[1;31m" in drawn(PLANNED, colour=True)


def test_control_and_markup_characters_are_shown_not_obeyed():
    text = drawn((Paragraph("[red]a[/red] \x1b[31mb\x07\u202e c"),))
    assert text == "[red]a[/red]  [31mb   c\n"


@pytest.mark.parametrize("draw", [drawn, render], ids=["terminal", "markdown"])
@pytest.mark.parametrize("document", [PLANNED, AUDITED], ids=["plan", "audit"])
def test_a_missed_target_never_shows_the_word_met(draw, document):
    missed = [
        line for line in draw(document).splitlines() if re.search(r"\bthroughput\b", line) and MISSED in line
    ]
    assert missed
    assert not [line for line in missed if re.search(r"\bmet\b", line)]


@given(st.lists(st.booleans(), min_size=3, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3))
def test_the_outcome_of_each_target_is_its_own(met, probable):
    rows = [
        check.model_copy(update={"met": is_met, "probable": is_met and is_sure})
        for check, is_met, is_sure in zip(CHECKS, met, probable, strict=True)
    ]
    lines = render(targets_table(tuple(rows), PLAN.pools[0])).splitlines()[2:5]
    for line, row in zip(lines, rows, strict=True):
        assert bool(re.search(r"\bmet\b", line)) == row.met
        assert (MISSED in line) == (not row.met)
        assert (UNCERTAIN in line) == (row.met and not row.probable)


@given(st.lists(st.text("ab .", max_size=40), min_size=3, max_size=3), st.integers(4, 100))
def test_any_table_fits_or_is_stacked(cells, width):
    heads = columns("a", ("b", "name"), ("c", "number"))
    text = drawn((Table(heads, (tuple(cells),)),), width=width)
    letters = "".join(cells).replace(" ", "")
    found = "".join(text.split())
    assert max(map(cell_len, text.splitlines()), default=0) <= max(width, 0)
    assert sum(map(found.count, "ab")) >= sum(map(letters.count, "ab"))


def test_the_brief_form_is_drawn_here_and_the_detail_is_not():
    assert drawn((*in_detail((Paragraph("long"),)), *in_brief((Paragraph("short"),)))) == "short\n"
