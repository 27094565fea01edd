"""Whether to deploy: what holds, what can go wrong, and the conclusion."""

from shardwright.audit.record import Audit
from shardwright.report.document import Bullets, Document, Heading, Item, Paragraph, in_detail
from shardwright.report.performance import claimed
from shardwright.report.strategy import nothing_priced
from shardwright.report.words import QUANTITIES, outcome, verdict_on, with_interval
from shardwright.units import format_share


def readiness(audit: Audit) -> Document:
    """Strengths, then risks; the failures and conditions stand at the top of the report."""
    strengths = tuple(row.sentence for row in audit.verdict.reasons if row.outcome == "holds")
    holds = Bullets(strengths) if strengths else Paragraph("None that the inputs bear out.")
    return (
        Heading("Deployment Readiness Assessment"),
        *in_detail((Heading("Strengths", level=3), holds, Heading("Risk Mitigation", level=3))),
        *_risks(audit),
    )


def _risks(audit: Audit) -> Document:
    """Those that are some in a sentence each, those that are none by name; in detail all."""
    if not audit.risks:
        return (nothing_priced(),)
    some = tuple(
        Item(f"{row.title} ({row.level})", row.sentence) for row in audit.risks if row.level != "none"
    )
    none = ", ".join(row.title for row in audit.risks if row.level == "none")
    rest = tuple(Item(row.title, row.sentence) for row in audit.risks if row.level == "none")
    return (
        *((Bullets(some),) if some else ()),
        *((Paragraph(f"No risk seen: {none}."),) if none else ()),
        *in_detail((Bullets(rest),) if rest else ()),
    )


def conclusion(audit: Audit) -> Document:
    """The verdict with the figures that it rests on."""
    pool, level = audit.pool, audit.verdict.level
    said = f"{audit.strategy} is {level}: {verdict_on(audit.targets)}."
    if pool is None:
        return in_detail((Heading("Conclusion"), Paragraph(f"{audit.strategy} is {level}: {audit.choice}.")))
    checks = {check.name: check for check in audit.targets}
    items = []
    for name, title in (("tpot_ms", "Latency"), ("throughput_tokens_per_s", "Throughput")):
        quantity, stated = QUANTITIES[name], claimed(audit, name)
        text = f"{with_interval(quantity.figure(pool.figures), quantity.form)} predicted"
        if stated:
            text += f", {stated} claimed"
        if name in checks:
            text += f"; target {quantity.target(checks[name].target)}: {outcome(checks[name])}"
        items.append(Item(title, text))
    device, spare = audit.deployment.cluster.device, audit.deployment.cluster.num_gpus - pool.num_gpus
    used = format_share(pool.figures.memory_bytes.value / device.memory_bytes)
    items.append(Item("Efficiency", f"{used} of a GPU's memory, {max(0, spare):,} GPUs left"))
    uneven = [row.title for row in audit.balance if not row.balanced]
    even = "every quantity balanced" if not uneven else f"uneven: {', '.join(uneven)}"
    items.append(Item("Scalability", even))
    items += [
        Item(f"Best on {row.scope}", f"{row.pool.layout}: {verdict_on(row.targets)}")
        for row in audit.better
        if row.pool.layout != audit.layout
    ]
    return in_detail((Heading("Conclusion"), Paragraph(said, status=level), Bullets(tuple(items))))
