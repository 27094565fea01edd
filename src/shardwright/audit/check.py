"""A check: which statements it needs and how it holds them against the subject. One interpreter runs all."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from shardwright.audit.digits import shown
from shardwright.audit.record import Finding, Status
from shardwright.audit.subject import Subject


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a check found. Fields as in Finding; suffix tells several outcomes of one check apart."""

    status: Status
    claim: str
    truth: str
    sentence: str
    arithmetic: tuple[str, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    decisive: bool = False
    suffix: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """claims, targets: fields that must be stated, else the check has nothing to say.

    needs_layout: without a layout to price its claims are 'unsupported' and `judge` is not called.
    """

    id: str
    title: str
    judge: Callable[[Subject], Iterable[Outcome]]
    claims: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    needs_layout: bool = True


def run(checks: Iterable[Check], subject: Subject) -> Iterator[Finding]:
    """The findings of all checks that apply, in the order of the table."""
    for check in checks:
        stated = [getattr(subject.claims, name) for name in check.claims]
        stated += [getattr(subject.deployment.targets, name) for name in check.targets]
        if any(value is None or value == () for value in stated):
            continue
        if check.needs_layout and subject.layout is None:
            if check.claims:
                yield _undecided(check, subject)
            continue
        for outcome in check.judge(subject):
            yield Finding(
                id=f"{check.id}:{outcome.suffix}" if outcome.suffix else check.id,
                title=check.title,
                status=outcome.status,
                claim=outcome.claim,
                truth=outcome.truth,
                sentence=outcome.sentence,
                arithmetic=outcome.arithmetic,
                numbers=outcome.numbers,
                decisive=outcome.decisive and outcome.status == "contradicted",
            )


def held(is_right: bool) -> Status:
    """confirmed or contradicted."""
    return "confirmed" if is_right else "contradicted"


def _undecided(check: Check, subject: Subject) -> Finding:
    values = [getattr(subject.claims, name) for name in check.claims]
    stated = ", ".join(shown(value) for value in values if isinstance(value, int | float))
    return Finding(
        id=check.id,
        title=check.title,
        status="unsupported",
        claim=stated or "as stated",
        truth="undecided",
        sentence="There is no single layout to hold this against.",
    )
