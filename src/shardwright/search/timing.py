"""How a layout runs its decode steps: what its engine offers is tried on the timeline, the better is kept."""

from collections.abc import Iterator
from dataclasses import dataclass

from shardwright.cost.closed_loop import Served
from shardwright.cost.price import Price, decode_cost, price, rank_sequences, served, wires_of
from shardwright.dag.schedule import Schedule, Steady
from shardwright.layout.layout import Layout
from shardwright.layout.stages import stage_counts
from shardwright.plan.deployment import Deployment
from shardwright.search.engine import engine_of, host_for
from shardwright.steps.forms import Forms
from shardwright.steps.load import decode_load

NOTICEABLE = 0.02
"""A schedule that saves less of a step than this is not worth its flags: a prediction cannot tell."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """price: of the layout under the schedule of `step`, which is kept. tried: what it was held against."""

    price: Price
    step: Steady
    tried: tuple[Steady, ...]

    @property
    def served(self) -> Served:
        """What a client sees."""
        return served(self.price, self.step.step_s)


def time_layout(deployment: Deployment, layout: Layout) -> Timing:
    """Try the schedules that the engine offers for the layout, and keep the best.

    One that cannot be noticeably faster, by the floor of its cost, is not played.
    """
    plain = plain_timing(deployment, layout)
    best, tried = plain.step, [plain.step]
    for schedule in offered(deployment, layout):
        if schedule.order == "overlapped":
            floor_s = floor_step_s(deployment, layout, schedule)
            if floor_s > best.step_s * (1 - NOTICEABLE):
                continue
        step = play(deployment, layout, schedule)
        tried.append(step)
        if step.step_s <= best.step_s * (1 - NOTICEABLE):
            best = step
    cost = plain.price if best is plain.step else price_layout(deployment, layout, best.schedule)
    return Timing(price=cost, step=best, tried=tuple(tried))


def plain_timing(deployment: Deployment, layout: Layout, micro_batches: int | None = None) -> Timing:
    """The layout in the schedule that every engine has, and no other."""
    schedule = plain_schedule(deployment, layout, micro_batches)
    cost = price_layout(deployment, layout, schedule)
    step = plain_step(deployment, layout, schedule, cost)
    return Timing(price=cost, step=step, tried=(step,))


def as_told(deployment: Deployment, layout: Layout, *, overlap: bool) -> Timing:
    """The layout as the engine runs it when told to overlap, or not to: better or worse."""
    plain = plain_timing(deployment, layout)
    tries = [schedule for schedule in offered(deployment, layout) if schedule.order == "overlapped"]
    if not overlap or not tries:
        return plain
    step = play(deployment, layout, tries[0])
    cost = price_layout(deployment, layout, step.schedule)
    return Timing(price=cost, step=step, tried=(plain.step, step))


def price_layout(deployment: Deployment, layout: Layout, schedule: Schedule | None = None) -> Price:
    """The closed-form price of one layout, by default in the schedule that every engine has."""
    engine = engine_of(deployment)
    return price(
        deployment.model,
        engine,
        deployment.cluster,
        deployment.workload,
        layout,
        stage_layers(layout, deployment),
        micro_batches=None if schedule is None else schedule.micro_batches,
        forms=None if schedule is None else forms_of(deployment, schedule),
        profile=deployment.profile,
        host=host_for(deployment),
    )


def stage_layers(layout: Layout, deployment: Deployment) -> tuple[int, ...]:
    """Layers of each stage: as stated, else as the engine splits them.

    Raises InputError where they do not add up to the model's, or there are more stages than layers.
    """
    return stage_counts(layout, deployment.model.num_layers, engine_of(deployment).stages)


def plain_schedule(deployment: Deployment, layout: Layout, micro_batches: int | None = None) -> Schedule:
    """One micro-batch a stage (or as many as said), each waiting for its communication."""
    count = layout.pp if micro_batches is None else micro_batches
    return Schedule(micro_batches=min(count, num_sequences(deployment, layout)))


def num_sequences(deployment: Deployment, layout: Layout) -> int:
    """Of one attention rank in a full house."""
    return int(rank_sequences(deployment.workload, layout))


def plain_step(deployment: Deployment, layout: Layout, schedule: Schedule, cost: Price) -> Steady:
    """A step of a pipelined schedule: by its closed form, which the timeline equals, where there is one."""
    if layout.home == "shared" and layout.pp > 1:
        return play(deployment, layout, schedule)
    share = float(cost.decode.communication_fraction)
    return Steady(schedule=schedule, step_s=float(cost.decode.cycle_s), exposed=share, busy=share)


def offered(deployment: Deployment, layout: Layout) -> Iterator[Schedule]:
    """The schedules that the engine offers for the layout beside the plain one."""
    engine, cluster = engine_of(deployment), deployment.cluster
    near = near_ranks(deployment, layout) if engine.sums_in_levels else 1
    if near > 1:
        yield plain_schedule(deployment, layout).model_copy(update={"near_ranks": near})
    overlap = engine.overlap
    if overlap is None or not overlap.works(layout, cluster) or layout.gpus_per_copy == 1:
        return
    for depth in overlap.micro_batches:
        if depth * layout.pp <= num_sequences(deployment, layout):
            for ranks in sorted({1, near}):
                yield overlapped(deployment, layout, depth, near_ranks=ranks)


def overlapped(deployment: Deployment, layout: Layout, depth: int, *, near_ranks: int = 1) -> Schedule:
    """`depth` micro-batches a stage, as the engine overlaps them; as our runtime does, where it does not."""
    overlap = engine_of(deployment).overlap
    schedule = Schedule(order="overlapped", micro_batches=depth * layout.pp, near_ranks=near_ranks)
    if overlap is None:
        return schedule
    settings = {"exchange": overlap.exchange, "hides": overlap.hides, "interference": overlap.interference}
    return schedule.model_copy(update=settings)


def near_ranks(deployment: Deployment, layout: Layout) -> int:
    """Ranks of a TP group that stand on one node, where the group spans several; else 1."""
    wires = wires_of(engine_of(deployment), deployment.cluster, layout)
    nodes = int(wires.nodes["tp"])
    return layout.tp // nodes if nodes > 1 and layout.tp % nodes == 0 else 1


def floor_step_s(deployment: Deployment, layout: Layout, schedule: Schedule) -> float:
    """No overlap of the schedule's micro-batches takes less."""
    engine = engine_of(deployment)
    cost = decode_cost(
        deployment.model,
        layout,
        stage_layers(layout, deployment),
        deployment.workload,
        schedule.micro_batches,
        wires_of(engine, deployment.cluster, layout, deployment.profile),
        forms_of(deployment, schedule),
    )
    return float(cost.floor_s)


def play(deployment: Deployment, layout: Layout, schedule: Schedule) -> Steady:
    """A step of any schedule, on the timeline."""
    # Imported here: most plans play nothing, and would pay 20 ms for the graph.
    from shardwright.dag.step import steady_step  # noqa: PLC0415

    load = decode_load(deployment.model, layout, deployment.workload, schedule.micro_batches)
    site = (deployment.model, engine_of(deployment), deployment.cluster, layout)
    return steady_step(*site, load, schedule, profile=deployment.profile)


def forms_of(deployment: Deployment, schedule: Schedule) -> Forms:
    """The forms of the collectives under a schedule."""
    return Forms(exchange=schedule.exchange or engine_of(deployment).exchange, near_ranks=schedule.near_ranks)
