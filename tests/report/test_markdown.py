"""What the user typed stays text in the markdown."""

import re

from hypothesis import given
from hypothesis import strategies as st

from shardwright.report.document import (
    Bullets,
    Code,
    Heading,
    Item,
    Paragraph,
    Table,
    columns,
    in_brief,
    in_detail,
)
from shardwright.report.markdown import code_span, escape, plan_markdown, render
from tests.report.records import PLAN

HOSTILE = "x | `y` <script>alert(1)</script> [a](http://b) **bold** \x1b[31m\n# not a title"

UNESCAPED = re.compile(r"(?<!\\)(?:\\\\)*[`*\[\]|~]|<|>")
"""Markup that would work."""


@given(st.text())
def test_escaped_text_is_one_line_without_markup(text):
    escaped = escape(text)
    assert escaped.isprintable()
    assert not UNESCAPED.search(escaped)
    assert "&" not in re.sub("&(amp|lt|gt);", "", escaped)


@given(st.text(alphabet="abc _.0", max_size=30))
def test_plain_words_stay_as_they_are(text):
    flat = " ".join(text.split())
    assert escape(text).replace("\\_", "_") == flat


def test_escaped_at_the_start_of_a_line_only():
    assert escape("1. a", starts_line=True) == "1\\. a"
    assert escape("# a", starts_line=True) == "\\# a"
    assert escape("8.36 ms", starts_line=True) == "8.36 ms"
    assert escape("1. a") == "1. a"


@given(st.text())
def test_code_spans_close_where_they_open(text):
    span = code_span(text)
    if span:
        fence = re.match("`+", span)[0]
        assert span.endswith(fence)
        inside = span[len(fence) : -len(fence)]
        assert len(fence) not in [len(run) for run in re.findall("`+", inside)]


def test_hostile_names_do_not_leave_their_cell():
    heads = columns("text", ("name", "name"))
    text = render(
        (Heading(HOSTILE), Table(heads, ((HOSTILE, HOSTILE),)), Bullets((HOSTILE, Item(HOSTILE, HOSTILE))))
    )
    row = next(line for line in text.splitlines() if line.startswith("| x"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert "<script>" not in row.split("`")[0]
    assert [line for line in text.splitlines() if line.startswith("#")] == [text.splitlines()[0]]
    assert "\x1b" not in text


def test_a_fence_is_longer_than_any_in_the_code():
    text = render((Code("echo '```'\nrm x", "sh"),))
    assert text == "````sh\necho '```'\nrm x\n````\n"


def test_a_hostile_model_name_is_quoted_in_the_command():
    name = "a; rm -rf / | `id`"
    model = PLAN.deployment.model.model_copy(update={"name": name})
    pool = PLAN.pools[0].model_copy(update={"command": ("vllm", "serve", name)})
    plan = PLAN.model_copy(
        update={"deployment": PLAN.deployment.model_copy(update={"model": model}), "pools": (pool,)}
    )
    assert f"\nvllm serve '{name}'\n" in plan_markdown(plan)


def test_detail_is_drawn_here_and_the_brief_form_is_not():
    assert render((*in_detail((Paragraph("long"),)), *in_brief((Paragraph("short"),)))) == "long\n"
