"""The verdict. One table of criteria; the rule over them is:

not ready             some criterion fails
ready with conditions none fails, and some holds only on a condition
ready                 every criterion holds
"""

from collections.abc import Callable
from dataclasses import dataclass

from shardwright.audit.digits import shown
from shardwright.audit.reading import breaches_of_any_size, engines_of_any_size
from shardwright.audit.record import Finding, Readiness, Reason
from shardwright.audit.subject import Subject
from shardwright.engine.catalog import ENGINES, find_engine
from shardwright.plan.deployment import ANY_ENGINE
from shardwright.plan.plan import TargetCheck
from shardwright.units import GB, format_bytes


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the criteria look at."""

    subject: Subject
    findings: tuple[Finding, ...]
    targets: tuple[TargetCheck, ...]


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """needs_layout: not judged without a layout to price, which `one_layout` fails for."""

    id: str
    judge: Callable[[Evidence], Reason]
    needs_layout: bool = True


def assess(evidence: Evidence) -> Readiness:
    """Every criterion judged, failures first, then conditions."""
    has_layout = evidence.subject.layout is not None
    reasons = [row.judge(evidence) for row in CRITERIA if has_layout or not row.needs_layout]
    order = ("fails", "condition", "holds")
    reasons.sort(key=lambda reason: order.index(reason.outcome))
    levels = {"fails": "not ready", "condition": "ready with conditions", "holds": "ready"}
    return Readiness.model_validate({"level": levels[reasons[0].outcome], "reasons": reasons})


def _one_layout(evidence: Evidence) -> Reason:
    subject = evidence.subject
    outcome = "fails" if subject.layout is None else "holds"
    lead = "No single layout" if subject.layout is None else "One layout"
    return _reason("one_layout", outcome, f"{lead}: {subject.choice}.")


def _gpus(evidence: Evidence) -> Reason:
    deployment, used = evidence.subject.deployment, evidence.subject.the_layout.num_gpus
    usable = deployment.usable_gpus
    held_back = f" less {deployment.reserve_gpus} in reserve" if deployment.reserve_gpus else ""
    sentence = f"The layout takes {used} GPUs; the cluster has {deployment.cluster.num_gpus}{held_back}."
    return _reason("gpus", "holds" if used <= usable else "fails", sentence)


def _memory(evidence: Evidence) -> Reason:
    price = evidence.subject.price
    over, sequences = float(price.over_budget_bytes), float(price.kv_sequences)
    if over > 0:
        return _reason("memory", "fails", f"The fullest GPU lacks {format_bytes(over)} for the load.")
    if sequences < 1:
        return _reason("memory", "fails", "The KV cache does not hold one request of the maximum length.")
    used = evidence.subject.pool.figures.memory_bytes.value / GB
    return _reason("memory", "holds", f"The fullest GPU holds {used:.1f} GB, and the load fits.")


def _engine(evidence: Evidence) -> Reason:
    layout, deployment = evidence.subject.the_layout, evidence.subject.deployment
    titles = ", ".join(ENGINES[name].title for name in engines_of_any_size(layout, deployment))
    named = None if deployment.engine == ANY_ENGINE else find_engine(deployment.engine)
    if named is None or not breaches_of_any_size(named, layout, deployment):
        return _reason("engine", "holds", f"Engines that can run the layout: {titles}.")
    return _reason("engine", "condition", f"{named.title} cannot run the layout; engines that can: {titles}.")


def _targets_met(evidence: Evidence) -> Reason:
    missed = [check for check in evidence.targets if not check.met]
    if not missed:
        return _reason(
            "targets_met", "holds", f"All {len(evidence.targets)} targets are met at the prediction."
        )
    listed = "; ".join(_short(check) for check in missed)
    return _reason("targets_met", "fails", f"Missed at the prediction: {listed}.")


def _targets_probable(evidence: Evidence) -> Reason:
    unsure = [check for check in evidence.targets if check.met and not check.probable]
    if not unsure:
        sentence = "Every target that is met is met at the unfavourable end of its interval too."
        return _reason("targets_probable", "holds", sentence)
    listed = "; ".join(_short(check) for check in unsure)
    return _reason(
        "targets_probable",
        "condition",
        f"Measure before relying on it; the interval of the prediction crosses the target: {listed}.",
    )


def _decisive_claims(evidence: Evidence) -> Reason:
    wrong = [row for row in evidence.findings if row.decisive]
    if not wrong:
        sentence = "No statement on capacity or speed is contradicted in a way that it rests on."
        return _reason("decisive_claims", "holds", sentence)
    return _reason(
        "decisive_claims", "fails", f"Statements on capacity or speed do not hold: {_titles(wrong)}."
    )


def _other_claims(evidence: Evidence) -> Reason:
    wrong = [row for row in evidence.findings if row.status == "contradicted" and not row.decisive]
    if not wrong:
        return _reason("other_claims", "holds", "No other statement is contradicted.")
    return _reason("other_claims", "condition", f"Correct the document: {_titles(wrong)}.")


CRITERIA = (
    Criterion(id="one_layout", judge=_one_layout, needs_layout=False),
    Criterion(id="gpus", judge=_gpus),
    Criterion(id="memory", judge=_memory),
    Criterion(id="engine", judge=_engine),
    Criterion(id="targets_met", judge=_targets_met),
    Criterion(id="targets_probable", judge=_targets_probable),
    Criterion(id="decisive_claims", judge=_decisive_claims, needs_layout=False),
    Criterion(id="other_claims", judge=_other_claims, needs_layout=False),
)


def _reason(id: str, outcome: str, sentence: str) -> Reason:
    return Reason.model_validate({"id": id, "outcome": outcome, "sentence": sentence})


def _short(check: TargetCheck) -> str:
    return f"{check.name} {shown(check.predicted)} predicted, {shown(check.target)} wanted"


def _titles(rows: list[Finding]) -> str:
    return "; ".join(f"{row.title} ({row.claim}, but {row.truth})" for row in rows)
