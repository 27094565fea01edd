"""The reference case: every section of the reference document, with figures that the arithmetic gives."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from shardwright.audit.audit import audit
from shardwright.plan.deployment import read_deployment
from shardwright.report.audit_document import audit_document
from shardwright.report.markdown import render
from tests.report.drawing import drawn

REFERENCE = Path(__file__).parents[2] / "examples" / "reference.yaml"

SECTIONS = (
    "Executive Summary",
    "Current Deployment Strategy",
    "Hardware Environment",
    "Parallelism Configuration",
    r"1\. Tensor Parallelism \(TP\) - Degree 2",
    r"2\. Expert Parallelism \(EP\) - Degree 4",
    r"3\. Pipeline Parallelism \(PP\) - Degree 2",
    r"4\. Data Parallelism \(DP\) - Degree 2",
    "Performance Analysis",
    "Latency",
    "Throughput",
    "Memory Efficiency",
    "Communication Overhead",
    "Load Balancing Analysis",
    "Expert Load Balancing",
    "Layer Load Balancing",
    "Batch Load Balancing",
    "Memory Load Balancing",
    "Module Division Validation",
    "Total Module Count",
    "Module Breakdown",
    "Critical Issues",
    "Optimization Recommendations",
    "Immediate Optimizations",
    "Advanced Optimizations",
    "Deployment Readiness Assessment",
    "Strengths",
    "Risk Mitigation",
    "Conclusion",
)
"""Headings of the reference document, in its order."""


@pytest.fixture(scope="module")
def document():
    return audit_document(audit(read_deployment(REFERENCE)))


@pytest.fixture(scope="module")
def markdown(document):
    return render(document)


def test_every_section_of_the_reference_document_is_there_in_its_order(markdown):
    place = 0
    for title in SECTIONS:
        found = re.compile(rf"^#+ {title}\b.*$|^#+ {title}$", re.MULTILINE).search(markdown, place)
        assert found, f"no section {title} after character {place}"
        place = found.end()


def test_no_section_is_empty(markdown):
    heads = [(len(m[1]), m.start(), m.end()) for m in re.finditer(r"^(#+) .*$", markdown, re.MULTILINE)]
    for (level, _, end), (below, start, _) in pairwise(heads):
        assert below > level or markdown[end:start].strip()


def test_each_dimension_says_why_where_what_and_how_much(markdown):
    part = markdown.split("### Parallelism Configuration")[1].split("## Performance Analysis")[0]
    for label in ("Purpose", "Implementation", "Communication", "Memory Impact"):
        assert part.count(f"**{label}**") == 4
    assert "{0-1, 4-5}; {2-3, 6-7}" in part  # vLLM's expert groups [[0,1,4,5],[2,3,6,7]]
    assert "stage 0: GPUs 0-1, 4-5, layers 0-7; stage 1: GPUs 2-3, 6-7, layers 8-15" in part


def test_true_figures_stand_in_place_of_the_claimed_ones(markdown):
    summary = markdown.split("## Executive Summary")[1].split("## ")[0]
    assert "Not ready" in summary
    assert "29.93 billion parameters, 59.9 GB in bf16" in markdown
    assert "128 sequences / 35 ms = 3,657 tokens/s" in markdown
    throughput = next(line for line in markdown.splitlines() if line.startswith("| throughput |"))
    assert "28,000 tokens/s" in throughput and "missed" in throughput


def test_claims_of_another_strategy_are_not_shown_as_claims_of_this_one():
    other = render(audit_document(audit(read_deployment(REFERENCE), layout="tp2.dp4/ep8")))
    assert "**Claimed**: nothing" in other
    assert "28,000" not in other


def test_the_terminal_form_is_short_and_fits(document):
    lines = drawn(document).splitlines()
    assert len(lines) <= 140
    assert max(map(len, lines)) <= 80
