"""The choices of a schedule, each beside the other one: what it gains, by the timeline."""

from collections.abc import Callable
from dataclasses import replace

from shardwright.dag.schedule import Schedule, in_words
from shardwright.layout.layout import Layout
from shardwright.plan.deployment import Deployment
from shardwright.record import Record
from shardwright.search.timing import (
    Timing,
    near_ranks,
    num_sequences,
    offered,
    overlapped,
    plain_schedule,
    play,
)

IN_A_STAGE = 2
"""Micro-batches a stage that overlap and batching are tried with where the engine offers none."""


class Choice(Record):
    """One choice of a schedule. step_s: of the schedule taken; instead_s: with this choice made otherwise.

    offered: whether the engine has the other one.
    """

    id: str
    title: str
    taken: str
    instead: str
    step_s: float
    instead_s: float
    offered: bool

    @property
    def gain_s(self) -> float:
        """What the choice taken saves of a step; below 0 where the other one is faster."""
        return self.instead_s - self.step_s


Rule = Callable[[Deployment, Layout, Timing], Choice | None]


def choices(deployment: Deployment, layout: Layout, timing: Timing) -> tuple[Choice, ...]:
    """Those that the layout has: without stages, experts or TP over nodes some do not arise."""
    return tuple(
        found
        for rule in (micro_batches, overlap, hierarchy, batched_exchange)
        if (found := rule(deployment, layout, timing)) is not None
    )


def micro_batches(deployment: Deployment, layout: Layout, timing: Timing) -> Choice | None:
    """Micro-batches in flight, against one at a time through all stages."""
    if layout.pp == 1 or timing.step.schedule.micro_batches == 1:
        return None
    alone = plain_schedule(deployment, layout, 1)
    return _beside(deployment, layout, timing, "micro_batches", "Micro-batches in the pipeline", [alone])


def overlap(deployment: Deployment, layout: Layout, timing: Timing) -> Choice | None:
    """Communication hidden behind the computing of another micro-batch, or not."""
    if layout.gpus_per_copy == 1:
        return None
    title = "Communication overlapped with computation"
    if timing.step.schedule.order == "overlapped":
        plain = plain_schedule(deployment, layout)
        return _beside(deployment, layout, timing, "overlap", title, [plain])
    tries = [schedule for schedule in offered(deployment, layout) if schedule.order == "overlapped"]
    if not tries and num_sequences(deployment, layout) >= IN_A_STAGE * layout.pp:
        tries = [overlapped(deployment, layout, IN_A_STAGE)]
    return _beside(deployment, layout, timing, "overlap", title, tries) if tries else None


def hierarchy(deployment: Deployment, layout: Layout, timing: Timing) -> Choice | None:
    """Sums over TP groups that span nodes: neighbours first, or all at once."""
    near = near_ranks(deployment, layout)
    if near == 1:
        return None
    taken = timing.step.schedule
    other = taken.model_copy(update={"near_ranks": near if taken.near_ranks == 1 else 1})
    return _beside(deployment, layout, timing, "hierarchy", "Hierarchical sums over TP", [other])


def batched_exchange(deployment: Deployment, layout: Layout, timing: Timing) -> Choice | None:
    """Two micro-batches that move in step and share the messages of an exchange, or do not.

    Of one stage: those of several would have to go through the stages together, one stage working at a time.
    """
    experts = deployment.model.experts
    if experts is None or layout.ep == 1 or layout.pp > 1:
        return None
    if num_sequences(deployment, layout) < IN_A_STAGE:
        return None
    plain = plain_schedule(deployment, layout, IN_A_STAGE)
    apart = plain.model_copy(update={"exchange": "all_to_all"})
    together = apart.model_copy(update={"batched": True})
    title = "One message a peer for all micro-batches of an exchange"
    here = replace(timing, step=play(deployment, layout, apart))
    return _beside(deployment, layout, here, "batched_exchange", title, [together])


def _beside(
    deployment: Deployment, layout: Layout, timing: Timing, id: str, title: str, tries: list[Schedule]
) -> Choice:
    """The schedule taken beside the best of those tried instead."""
    known = {step.schedule: step for step in timing.tried}
    played = [known.get(schedule) or play(deployment, layout, schedule) for schedule in tries]
    best = min(played, key=lambda step: step.step_s)
    return Choice(
        id=id,
        title=title,
        taken=in_words(timing.step.schedule),
        instead=in_words(best.schedule),
        step_s=timing.step.step_s,
        instead_s=best.step_s,
        offered=best.schedule in known or best.schedule in offered(deployment, layout),
    )
