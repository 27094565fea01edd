"""Whole reports of hand-made records against files.

After a wanted change: SHARDWRIGHT_REGENERATE=1 python -m pytest tests/report/test_golden.py
and read the diff.
"""

import os
from pathlib import Path

import pytest

from shardwright.audit.record import Readiness, Reason
from shardwright.report.audit_document import audit_document
from shardwright.report.document import Document
from shardwright.report.markdown import render
from shardwright.report.plan_document import plan_document
from tests.report.audit_record import AUDIT
from tests.report.drawing import drawn
from tests.report.records import PLAN

GOLDEN = Path(__file__).parent / "golden"
UNPRICED = AUDIT.model_copy(
    update={
        "layout": None,
        "pool": None,
        "targets": (),
        "balance": (),
        "modules": (),
        "risks": (),
        "recommendations": (),
        "better": (),
        "findings": (),
        "choice": "two readings take 4 GPUs",
        "verdict": Readiness(
            level="not ready",
            reasons=(Reason(id="one_layout", outcome="fails", sentence="Two readings take 4 GPUs."),),
        ),
    }
)

DOCUMENTS = {
    "plan": plan_document(PLAN),
    "audit": audit_document(AUDIT),
    "audit_unpriced": audit_document(UNPRICED),
}


def trimmed(text: str) -> str:
    """Without the spaces that pad a table's last column."""
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("suffix", ["md", "txt"])
def test_report_is_the_golden_one(name: str, suffix: str) -> None:
    document: Document = DOCUMENTS[name]
    text = render(document) if suffix == "md" else trimmed(drawn(document))
    file = GOLDEN / f"{name}.{suffix}"
    if os.environ.get("SHARDWRIGHT_REGENERATE"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
