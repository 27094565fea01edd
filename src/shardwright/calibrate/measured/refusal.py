"""Why a measured row cannot be predicted."""

from dataclasses import dataclass

from shardwright.calibrate.measured.row import Row


@dataclass(frozen=True)
class Refusal:
    """rule: which of the reader's rules it met. sentence: what stands in the way, for people."""

    row: Row
    rule: str
    sentence: str


class RefusedError(Exception):
    """Raised while a row is read; case_of makes it a Refusal."""

    def __init__(self, rule: str, sentence: str) -> None:
        self.rule, self.sentence = rule, sentence
        super().__init__(sentence)
