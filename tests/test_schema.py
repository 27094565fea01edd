"""docs/schema/ holds the JSON Schema of everything that --json prints and that is written to a file.

SHARDWRIGHT_REGENERATE=1 writes the schemas anew instead of comparing them.
"""

import json
import os
from pathlib import Path

import pytest

from shardwright.audit.commands.record import CommandAudit
from shardwright.audit.record import Audit
from shardwright.calibrate.calibration import Calibration
from shardwright.calibrate.measured.own import OwnCalibration
from shardwright.calibrate.measured.validation import Validation
from shardwright.dag.document import StepGraph
from shardwright.launch.check import Check
from shardwright.launch.compare import Bench
from shardwright.launch.inspect.inspection import Inspection
from shardwright.launch.launch import Launch
from shardwright.plan.alone import RankMeasurement
from shardwright.plan.generation import Generation
from shardwright.plan.plan import Plan
from shardwright.plan.proof import Proof
from shardwright.record import Record
from shardwright.search.comparison import ComparedPlan
from shardwright.search.explain import Explanation
from shardwright.serving.simulation import Simulation

FOLDER = Path(__file__).parents[1] / "docs" / "schema"


PLANNED = [Plan, ComparedPlan, Audit, CommandAudit, Explanation, StepGraph, Simulation, Launch]
EXECUTED = [Proof, RankMeasurement, Generation]
MEASURED = [Calibration, OwnCalibration, Validation, Check, Bench, Inspection]


@pytest.mark.parametrize("kind", [*PLANNED, *EXECUTED, *MEASURED])
def test_schema_is_the_one_documented(kind: type[Record]) -> None:
    file = FOLDER / f"{kind.__name__.lower()}.json"
    schema = json.dumps(kind.model_json_schema(), indent=2) + "\n"
    if os.environ.get("SHARDWRIGHT_REGENERATE"):
        file.write_text(schema, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == schema
    assert "schema_version" in kind.model_fields
