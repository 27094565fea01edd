"""The proof of the proof: each mistake that an engine's author makes is found, by the check that should."""

import re
from pathlib import Path

import pytest
import torch
from pytest import MonkeyPatch
from torch import Tensor

from shardwright.layout.notation import parse_layout
from shardwright.run.batch import MicroBatch
from shardwright.run.prove import prove_subject
from shardwright.run.subject import Subject
from tests.run.mutants_of_steps import STEP_MUTANTS
from tests.run.mutants_of_weights import WEIGHT_MUTANTS

MUTANTS = WEIGHT_MUTANTS | STEP_MUTANTS


class Honest:
    """Proofs without a mistake, each made once: they pass, and the unsharded runs are done before any."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._subjects: dict[str, Subject] = {}
        self._passed: set[tuple[str, str]] = set()

    def subject(self, family: str, layout: str) -> Subject:
        if family not in self._subjects:
            self._subjects[family] = Subject(family, self._folder / family)
        if (family, layout) not in self._passed:
            assert prove_subject(parse_layout(layout), self._subjects[family]).passed
            self._passed.add((family, layout))
        return self._subjects[family]


@pytest.fixture(scope="module")
def honest(made: Path) -> Honest:
    torch.set_num_threads(1)  # on matrices this small, two threads take three times the CPU time
    return Honest(made)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str, honest: Honest, monkeypatch: MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    layout, subject = parse_layout(mutant.layout), honest.subject(mutant.family, mutant.layout)
    mutant.patch(monkeypatch)
    try:
        said = "; ".join(prove_subject(layout, subject).failures)
    except (AssertionError, RuntimeError, ValueError) as error:
        said = str(error)
    assert re.search(mutant.caught, said), said


@pytest.mark.parametrize("family", ["llama", "deepseek_v2", "gpt_oss"])
def test_what_changes_no_answer_is_no_failure(family: str, honest: Honest, monkeypatch: MonkeyPatch) -> None:
    """Rope is relative: positions that count the padding too shift a sequence as a whole."""

    def of_slots(self: MicroBatch) -> Tensor:
        return torch.arange(self.past, self.past + self.shape[1]).expand(self.shape[0], -1)

    layout = "tp2" if family == "llama" else "tp2/ep2"
    subject = honest.subject(family, layout)
    monkeypatch.setattr(MicroBatch, "positions_BS", of_slots)
    proof = prove_subject(parse_layout(layout), subject)
    assert proof.passed
    assert proof.largest_difference > 0
