"""The audit of a deployment: what its strategy can mean, what it states truly, and whether it is ready."""

from shardwright import __version__
from shardwright.audit.balance import balance, modules
from shardwright.audit.better import better
from shardwright.audit.check import run
from shardwright.audit.checks import CHECKS
from shardwright.audit.readiness import Evidence, assess
from shardwright.audit.reading import engine_verdicts, growth_path, rows, within
from shardwright.audit.recommendations import recommendations
from shardwright.audit.record import Audit, Nearest
from shardwright.audit.risks import risks
from shardwright.audit.subject import Subject, examine
from shardwright.engine.nearest import nearest
from shardwright.errors import InputError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.plan.deployment import Deployment
from shardwright.search.engine import engine_of
from shardwright.search.pool import check_targets
from shardwright.search.timing import price_layout
from shardwright.units import format_bytes


def audit(deployment: Deployment, *, layout: str | None = None, gpus: int | None = None) -> Audit:
    """The audit of `layout`, else of the deployment's own strategy, on `gpus` GPUs, else on those declared.

    Raises InputError where there is no strategy, or one that cannot be read.
    """
    text = layout or deployment.layout
    if text is None:
        raise InputError("layout", None, "a strategy to audit, such as TP2-EP4-PP2-DP2 or tp2.dp2.pp2/ep4")
    if gpus is not None and gpus < 1:
        raise InputError("--gpus", gpus, "a whole number from 1")
    subject = examine(deployment, text, gpus)
    pool = subject.pool if subject.layout else None
    targets = check_targets(deployment.targets, pool.figures) if pool else ()
    findings = tuple(run(CHECKS, subject))
    engine = engine_of(subject.priced_on)
    return Audit(
        tool_version=__version__,
        deployment=deployment,
        strategy=text,
        declared_gpus=subject.declared_gpus,
        readings=rows(subject.readings, deployment, subject.declared_gpus),
        verdicts=engine_verdicts(deployment, subject.stated, subject.readings),
        layout=format_layout(subject.layout) if subject.layout else None,
        choice=subject.choice,
        priced_on=f"{engine.title} {engine.version}",
        nearest=None if subject.layout else _nearest(subject),
        growth=growth_path(subject.readings, deployment.usable_gpus),
        pool=pool,
        targets=targets,
        map_layout=format_layout(subject.map_layout) if subject.map_layout else None,
        findings=findings,
        balance=tuple(balance(subject)),
        modules=modules(subject),
        risks=tuple(risks(subject)),
        recommendations=recommendations(subject),
        better=tuple(better(subject)),
        verdict=assess(Evidence(subject=subject, findings=findings, targets=targets)),
        notes=_notes(subject),
    )


def _notes(subject: Subject) -> tuple[str, ...]:
    """Claims set aside, and searches without a result."""
    found = [subject.best_on_all, *([subject.best_on_same] if subject.layout else [])]
    notes = list(dict.fromkeys(row for row in found if isinstance(row, str)))
    if subject.deployment.claims is not None and subject.claims != subject.deployment.claims:
        notes.insert(
            0, f"The document's claims are about {subject.deployment.layout}: they are not held against this."
        )
    return tuple(notes)


def _nearest(subject: Subject) -> Nearest | None:
    """The engine's legal layout nearest to the stated degrees on the GPUs given; of equals one that fits.

    Where so many copies cannot be, of one copy; None where the engine has no legal layout at all.
    """
    deployment = subject.deployment
    limit = min(subject.declared_gpus, deployment.usable_gpus)
    rules = (*engine_of(deployment).rules, within(limit))
    one_copy = subject.stated.model_copy(update={"copies": None, "dp": None})
    found = nearest(rules, subject.stated, deployment.model) or nearest(rules, one_copy, deployment.model)
    if not found:
        return None
    chosen = min(found, key=lambda layout: not _fits(deployment, layout))
    memory = float(price_layout(deployment, chosen).used_bytes)
    fits = _fits(deployment, chosen)
    name = format_layout(chosen)
    return Nearest(
        layout=name,
        gpus=chosen.num_gpus,
        fits_memory=fits,
        memory_bytes=memory,
        sentence=f"The legal layout of {limit} GPUs or fewer nearest to {subject.stated.text} is {name}, "
        f"{chosen.num_gpus} GPUs; its fullest GPU takes {format_bytes(memory)}, which "
        f"{'fits' if fits else 'does not fit'}.",
    )


def _fits(deployment: Deployment, layout: Layout) -> bool:
    cost = price_layout(deployment, layout)
    return float(cost.over_budget_bytes) <= 0 and float(cost.kv_sequences) >= 1
