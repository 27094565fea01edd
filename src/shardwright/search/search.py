"""From a deployment to its plan."""

from collections.abc import Sequence

from shardwright import __version__
from shardwright.cost.profile import profile_for
from shardwright.engine.engine import breaches
from shardwright.engine.rules import VENDOR
from shardwright.errors import InputError, ShardwrightError
from shardwright.layout.layout import Layout
from shardwright.layout.notation import format_layout
from shardwright.plan.deployment import Deployment
from shardwright.plan.plan import Alternative, Plan, Rejected
from shardwright.search.choose import NEAR_EQUAL, Ranking, engines_for, near_equal, pareto, rank
from shardwright.search.engine import engine_of
from shardwright.search.likely import likely
from shardwright.search.obstacles import obstacles
from shardwright.search.pool import build_pool, check_targets
from shardwright.search.settle import settle
from shardwright.search.table import Table, price_all
from shardwright.search.timing import Timing, time_layout
from shardwright.units import GB, format_probability, format_rate, format_seconds


class NoLayoutError(ShardwrightError):
    """Nothing fits: a finding, not bad input."""

    exit_code = 1


def search(deployment: Deployment, *, num_alternatives: int = 5, exact_gpus: int | None = None) -> Plan:
    """The best layout of the deployment, on up to its usable GPUs (or exactly `exact_gpus`).

    Raises NoLayoutError when no legal layout fits the memory, InputError when the engine does not run on GPUs
    of this vendor.
    """
    table, ranking = ranked(deployment, exact_gpus=exact_gpus)
    if not len(ranking.order):
        raise NoLayoutError(nothing_fits(deployment, table, ranking))
    best, alike = pick(deployment, table, ranking)
    others = [int(row) for row in ranking.order[: num_alternatives + 1] if row != best][:num_alternatives]
    return plan_for(
        deployment,
        table.layout(best),
        timing=table.played.get(best),
        reason=_reason(deployment, table, ranking, best, alike),
        alternatives=alternatives(deployment, table, ranking, others),
        pareto=alternatives(deployment, table, ranking, pareto(table, ranking)),
        rejected=table.illegal + over_memory(table, ranking),
        num_priced=len(table),
    )


def ranked(deployment: Deployment, *, exact_gpus: int | None = None) -> tuple[Table, Ranking]:
    """All legal layouts priced and ordered, the finalists in their best schedules.

    Raises InputError where the engine does not run on GPUs of this vendor: no layout is legal then.
    """
    engine = engine_of(deployment)
    for breach in breaches(engine, Layout(), deployment.model, deployment.cluster):
        if breach.rule == VENDOR:
            allowed = f"an engine for GPUs of {deployment.cluster.device.vendor}"
            why = f"{engine.title} {engine.version}: {breach.sentence}; cure: {breach.cure}"
            raise InputError("engine", deployment.engine, f"{allowed}. {why}")
    max_gpus = deployment.usable_gpus if exact_gpus is None else exact_gpus

    def order(table: Table) -> Ranking:
        odds = likely(deployment, table) if deployment.objective == "probability" else None
        ranking = rank(table, deployment.targets, deployment.objective, odds)
        return ranking if exact_gpus is None else ranking.only(table.num_gpus == exact_gpus)

    table = settle(deployment, price_all(deployment, engine, max_gpus=max_gpus), order)
    return table, order(table)


def pick(deployment: Deployment, table: Table, ranking: Ranking) -> tuple[int, list[int]]:
    """The row to take, and the rows that the objective cannot tell from it.

    Of those: what most engines run, then a copy that stays inside a node, then the better one.
    """
    alike = near_equal(table, ranking, deployment.objective)

    engines = dict(zip(alike, engines_for(table, alike, deployment.model, deployment.cluster), strict=True))

    def preference(row: int) -> tuple[int, bool]:
        return -len(engines[row]), table.layout(row).gpus_per_copy > deployment.cluster.gpus_per_node

    return min(alike, key=preference), alike


def plan_for(
    deployment: Deployment,
    layout: Layout,
    *,
    reason: str,
    timing: Timing | None = None,
    alternatives: tuple[Alternative, ...] = (),
    pareto: tuple[Alternative, ...] = (),
    rejected: tuple[Rejected, ...] = (),
    num_priced: int = 1,
) -> Plan:
    """The plan that runs `layout`. timing: how, where its schedules were tried already."""
    engine = engine_of(deployment)
    timing = timing or time_layout(deployment, layout)
    pool = build_pool(deployment, layout, timing)
    targets = check_targets(deployment.targets, pool.figures)
    in_the_way = obstacles(deployment, layout, timing.price)
    return Plan(
        tool_version=__version__,
        profile=profile_name(deployment),
        deployment=deployment,
        engine_version=f"{engine.name} {engine.version}",
        pools=(pool,),
        targets=targets,
        obstacles=in_the_way,
        met=not in_the_way and all(check.met for check in targets),
        reason=reason,
        alternatives=alternatives,
        pareto=pareto,
        rejected=rejected,
        num_priced=num_priced,
    )


def profile_name(deployment: Deployment) -> str:
    """Whose measurements the figures rest on, and how far they are from the device."""
    own = deployment.profile
    profile, distance = (own, "measured") if own is not None else profile_for(deployment.cluster.device)
    return f"{profile.device}, {profile.date}, {profile.source} ({distance})"


def over_memory(table: Table, ranking: Ranking) -> tuple[Rejected, ...]:
    """The legal layouts that memory excludes, as one row; empty when all fit."""
    count = int((~ranking.fits).sum())
    over = table.columns["over_budget_bytes"]
    short = over.copy()
    short[ranking.fits] = float("inf")
    if not count:
        return ()
    nearest = int(short.argmin())
    layout = table.layout(nearest)
    cure = "more GPUs a copy, a smaller batch, shorter requests or a narrower dtype"
    if len(ranking.order):
        used = table.num_gpus[ranking.order]
        fewest = ranking.order[used == used.min()]
        fitting = int(fewest[table.columns["tpot_s"][fewest].argmin()])
        cure = f"{format_layout(table.layout(fitting))} fits on {table.num_gpus[fitting]} GPUs"
    return (
        Rejected(
            rule="memory",
            sentence="weights, activations and the KV cache of the load fit the engine's share of the GPU",
            count=count,
            example=format_layout(layout),
            excess=max(0.0, float(over[nearest]) / GB),
            unit="GB a GPU",
            cure=cure,
        ),
    )


def alternatives(
    deployment: Deployment, table: Table, ranking: Ranking, rows: Sequence[int]
) -> tuple[Alternative, ...]:
    """Rows of the table as alternatives."""
    columns = table.columns
    engines = engines_for(table, rows, deployment.model, deployment.cluster)
    return tuple(
        Alternative(
            layout=format_layout(layout),
            num_gpus=layout.num_gpus,
            tpot_s=float(columns["tpot_s"][row]),
            ttft_s=float(columns["ttft_s"][row]),
            throughput_tokens_per_s=float(columns["throughput_tokens_per_s"][row]),
            communication_fraction=float(columns["communication_fraction"][row]),
            memory_bytes=float(columns["used_bytes"][row]),
            meets_targets=bool(ranking.misses[row] <= 1),
            engines=runs_on,
        )
        for row, runs_on in zip(rows, engines, strict=True)
        for layout in (table.layout(row),)
    )


def _reason(deployment: Deployment, table: Table, ranking: Ranking, best: int, alike: list[int]) -> str:
    aim = {
        "throughput_per_gpu": "most tokens/s on the GPUs given",
        "latency": "the lowest TPOT",
        "fewest_gpus": "the fewest GPUs",
        "probability": "",
    }[deployment.objective]
    columns = table.columns
    meeting = ranking.num_meeting
    wanted = "fit and meet the targets" if has_targets(deployment) else "fit"
    scope = f"{meeting} of {len(table):,} legal layouts {wanted}"
    if not meeting:
        scope = f"none of {len(table)} legal layouts meets all targets; this one comes nearest"
        aim = f"worst miss {ranking.misses[best]:.2f} x"
    if ranking.likely is not None:
        aim = f"the likeliest to meet them, {format_probability(ranking.likely[best])}"
    figure = (
        f"{format_rate(columns['throughput_tokens_per_s'][best])}, "
        f"TPOT {format_seconds(float(columns['tpot_s'][best]))}"
    )
    tie = ""
    if len(alike) > 1:
        tie = f"; of {len(alike)} within {NEAR_EQUAL:.0%} the one that most engines run, inside a node"
    return f"{scope}: {aim} ({figure}){tie}"


def has_targets(deployment: Deployment) -> bool:
    """Whether any target is stated."""
    return any(value is not None for value in deployment.targets.model_dump().values())


def nothing_fits(deployment: Deployment, table: Table, ranking: Ranking) -> str:
    """What stands in the way of every layout, one line a rule."""
    lines = [f"no layout of up to {deployment.usable_gpus} GPUs fits {deployment.model.name}"]
    lines += [
        f"  {row.rule}: {row.count} layouts; nearest {row.example}, "
        f"by {row.excess:.3g} ({row.unit}); cure: {row.cure}"
        for row in table.illegal + over_memory(table, ranking)
    ]
    if not len(table):
        lines.append("  no layout is legal on this engine")
    return "\n".join(lines)
