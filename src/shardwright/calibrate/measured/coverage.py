"""How many measured rows became cases, and which rules met the others."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from shardwright.calibrate.measured.case import Case
from shardwright.calibrate.measured.doubts import DOUBTS, doubts_of
from shardwright.calibrate.measured.refusal import Refusal
from shardwright.record import Record

NOT_OURS = ("layers",)
"""Refusals that are the model's: a share is of the rows whose model's layers are modelled."""


class Coverage(Record):
    """Of the rows of one mode. refused, doubted: rows by rule; a case may be doubted by several."""

    mode: str
    rows: int
    cases: int
    fitted: int
    refused: dict[str, int]
    doubted: dict[str, int]

    @property
    def share(self) -> float:
        """Cases among the rows whose model's layers are modelled."""
        asked = self.rows - sum(self.refused.get(rule, 0) for rule in NOT_OURS)
        return self.cases / asked if asked else 1.0


def coverage(
    readings: Iterable[Case | Refusal], doubts: Callable[[Case], tuple[str, ...]] = doubts_of
) -> tuple[Coverage, ...]:
    """One Coverage for each mode, the fullest first. doubts: of a case, where they are known already."""
    by_mode: dict[str, list[Case | Refusal]] = {}
    for reading in readings:
        by_mode.setdefault(reading.row.mode, []).append(reading)
    found = (_coverage(mode, members, doubts) for mode, members in by_mode.items())
    return tuple(sorted(found, key=lambda each: -each.rows))


def coverage_lines(found: Sequence[Coverage]) -> Iterator[str]:
    """The table as text: a line a mode, then what each rule met."""
    yield f"{'mode':<24}{'rows':>7}{'cases':>7}{'share':>8}{'to fit':>8}"
    for each in found:
        yield f"{each.mode:<24}{each.rows:>7}{each.cases:>7}{each.share:>8.1%}{each.fitted:>8}"
    for each in found:
        for rule, count in each.refused.items():
            yield f"refused  {rule:<14}{count:>6}  {each.mode}"
    sentences = {rule.id: rule.sentence for rule in DOUBTS}
    for each in found:
        for rule, count in each.doubted.items():
            yield f"doubted  {rule:<14}{count:>6}  {each.mode}: {sentences[rule]}"


def _coverage(
    mode: str, members: Sequence[Case | Refusal], doubts_in: Callable[[Case], tuple[str, ...]]
) -> Coverage:
    refused: Counter[str] = Counter(each.rule for each in members if isinstance(each, Refusal))
    doubts = [doubts_in(each) for each in members if isinstance(each, Case)]
    doubted: Counter[str] = Counter(rule for rules in doubts for rule in rules)
    return Coverage(
        mode=mode,
        rows=len(members),
        cases=len(doubts),
        fitted=sum(not rules for rules in doubts),
        refused=dict(refused.most_common()),
        doubted=dict(doubted.most_common()),
    )
