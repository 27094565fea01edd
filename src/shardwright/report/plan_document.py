"""A plan as a document: the answer, then the reason, the command, the figures, and why not others."""

from shardwright.plan.deployment import ANY_ENGINE, Deployment
from shardwright.plan.plan import Plan, Pool, Rejected, TargetCheck
from shardwright.report.document import Bullets, Document, Heading, Item, Paragraph
from shardwright.report.pool_blocks import (
    alternatives_table,
    figures_table,
    memory_blocks,
    obstacles_blocks,
    stages_sentence,
    targets_table,
    time_blocks,
)
from shardwright.report.starting import starting
from shardwright.report.words import QUANTITIES, counted, verdict_on
from shardwright.units import format_probability
from shardwright.workload.workload import CLIENT_TARGETS

PREDICTED = "All figures are predictions; an interval stands in brackets behind each."


def plan_document(plan: Plan) -> Document:
    """The whole report of `plan`."""
    return (
        *_answer(plan),
        *obstacles_blocks(plan.obstacles),
        *(block for pool in plan.pools for block in _pool(plan, pool)),
        *_others(plan),
        *assumptions(plan.deployment),
        *_provenance(plan),
    )


def assumptions(deployment: Deployment) -> Document:
    """What the user left open, and what fills it."""
    if not deployment.assumptions:
        return ()
    return (Heading("Assumptions"), Bullets(deployment.assumptions))


def where(deployment: Deployment) -> str:
    """The GPUs in one phrase: '16 x H100-SXM-80GB (2 nodes of 8)'."""
    cluster = deployment.cluster
    spare = f", {deployment.reserve_gpus} in reserve" if deployment.reserve_gpus else ""
    nodes = counted(cluster.nodes, "node")
    return f"{cluster.num_gpus:,} x {cluster.device.name} ({nodes} of {cluster.gpus_per_node}{spare})"


def load(deployment: Deployment) -> str:
    """The workload in one phrase."""
    work = deployment.workload
    varied = f" (each within {work.spread:.0%})" if work.spread else ""
    return (
        f"{counted(work.batch, 'sequence')} in flight, {work.input_tokens:,} tokens in, "
        f"{work.output_tokens:,} out{varied}, {work.routing.kind} routing"
    )


def _answer(plan: Plan) -> Document:
    deployment = plan.deployment
    used = sum(pool.num_gpus for pool in plan.pools)
    names = " and ".join(pool.layout for pool in plan.pools)
    outcome = verdict_on(plan.targets)
    if plan.obstacles:
        outcome = f"cannot run ({', '.join(breach.rule for breach in plan.obstacles)})"
    status = ("met" if plan.met else "missed") if plan.targets or plan.obstacles else ""
    priced_for = "on any engine" if deployment.engine == ANY_ENGINE else f"on {plan.engine_version}"
    return (
        Heading(f"Plan: {deployment.name}", level=1),
        Paragraph(f"{names} on {used:,} of {where(deployment)}: {outcome}.", status=status),
        Bullets(
            (
                Item("Model", f"{deployment.model.name}, {priced_for}"),
                Item("Load", load(deployment)),
                Item("Why", plan.reason),
                *_likely(plan),
            )
        ),
        Paragraph(PREDICTED),
    )


def _likely(plan: Plan) -> tuple[Item, ...]:
    """How likely each target of what clients see is met, where the plan was chosen by it."""
    checks = [check for check in plan.targets if check.name in CLIENT_TARGETS]
    if plan.deployment.objective != "probability" or not checks:
        return ()
    said = [f"{_asked(check)}: {format_probability(check.probability)}" for check in checks]
    if len(checks) > 1:
        least = format_probability(min(check.probability for check in checks))
        said.append(f"all of them: {least}, as the least likely, for their errors are common")
    return (Item("Likely", "meets " + "; ".join(said)),)


def _asked(check: TargetCheck) -> str:
    quantity = QUANTITIES[check.name]
    return f"{quantity.title} {quantity.form(check.target * quantity.unit)}"


def _pool(plan: Plan, pool: Pool) -> Document:
    deployment = plan.deployment
    title = f" of the {pool.role} pool" if len(plan.pools) > 1 else ""
    targets = (Heading(f"Targets{title}"), *targets_table(plan.targets, pool)) if plan.targets else ()
    return (
        Heading(f"Command{title}"),
        *starting(deployment, pool),
        Heading(f"Predicted figures{title}"),
        Paragraph(f"{pool.layout}: {stages_sentence(pool)}."),
        *figures_table(pool),
        *targets,
        Heading(f"Where the time goes{title}"),
        *time_blocks(deployment, pool),
        Heading(f"Memory{title}"),
        *memory_blocks(deployment, pool),
    )


def _others(plan: Plan) -> Document:
    alternatives = (
        (Heading("Alternatives"), *alternatives_table(plan.alternatives)) if plan.alternatives else ()
    )
    front: Document = ()
    if plan.pareto:
        what = Paragraph("No other layout has both a lower TPOT and a higher throughput a GPU.")
        front = (Heading("Pareto front"), what, *alternatives_table(plan.pareto))
    why_not = (
        (Heading("Why not others"), Bullets(tuple(map(_why_not, plan.rejected)))) if plan.rejected else ()
    )
    return (*alternatives, *front, *why_not)


def _why_not(row: Rejected) -> Item:
    return Item(
        f"{row.rule} ({counted(row.count, 'layout')})",
        f"{row.sentence}. Nearest miss: {row.example}, by {row.excess:,.3g} ({row.unit}). Cure: {row.cure}.",
    )


def _provenance(plan: Plan) -> Document:
    return (
        Paragraph(
            f"{counted(plan.num_priced, 'layout')} priced by shardwright {plan.tool_version} "
            f"by the profile of {plan.profile}.",
            only="markdown",
        ),
    )
