"""Checks of what lies on a GPU by number: modules, experts, layers, sequences."""

from collections.abc import Iterator

from shardwright.audit.check import Check, Outcome, held
from shardwright.audit.digits import agrees, shown
from shardwright.audit.placing import several
from shardwright.audit.subject import Subject
from shardwright.layout.notation import format_layout


def modules(subject: Subject) -> Iterator[Outcome]:
    """One module a GPU, of a copy or of all: a stage's TP shard, an expert group, or both on one GPU."""
    layout = subject.map_layout or subject.the_layout
    ranks, each = layout.pp * layout.attention_ranks, layout.gpus_per_copy
    formula = f"{several(layout.pp, 'stage')} x {several(layout.attention_ranks, 'attention rank')} = {ranks}"
    if each > ranks:
        formula = f"{formula.rpartition(' = ')[0]} + {each - ranks} expert groups = {each}"
    claimed = subject.claims.modules or 0
    right = claimed in (each, layout.num_gpus)
    copies = f" a copy, {layout.num_gpus} in all" if layout.copies > 1 else ""
    yield Outcome(
        status=held(right),
        claim=f"{claimed} modules",
        truth=f"{each} modules{copies}",
        sentence=f"{format_layout(layout)} has {formula} modules{copies}, one a GPU"
        f"{'' if right else f', not {claimed}'}.",
        arithmetic=(formula,),
        numbers={"modules": each, "gpus": each},
    )


def experts_per_gpu(subject: Subject) -> Iterator[Outcome]:
    """Physical experts of a layer over the EP ranks."""
    layout, experts = subject.the_layout, subject.deployment.model.experts
    slots = (experts.num_experts if experts else 0) + layout.redundant
    yield _shared_out(subject.claims.experts_per_gpu or 0, slots, layout.ep, "experts", "EP rank", "GPU")


def sequences_per_replica(subject: Subject) -> Iterator[Outcome]:
    """The batch over the ranks that split it."""
    layout = subject.the_layout
    batch, ranks = subject.deployment.workload.batch, layout.dp * layout.copies
    claimed = subject.claims.sequences_per_replica or 0
    yield _shared_out(claimed, batch, ranks, "sequences", "DP rank", "DP rank")


def layers_per_stage(subject: Subject) -> Iterator[Outcome]:
    """Every stage has that many layers."""
    counts = subject.pool.stage_layers
    claimed = subject.claims.layers_per_stage or 0
    right = all(count == claimed for count in counts)
    each = ", ".join(map(str, counts))
    counted = f"{sum(counts)} layers / {several(len(counts), 'stage')} = {each}"
    yield Outcome(
        status=held(right),
        claim=f"{shown(claimed)} layers a stage",
        truth=f"{each} layers",
        sentence=f"{counted}{'' if right else f', not {shown(claimed)} each'}.",
        arithmetic=(counted,),
        numbers={"most": max(counts), "fewest": min(counts)},
    )


def _shared_out(claimed: float, whole: int, units: int, what: str, over: str, one: str) -> Outcome:
    """`whole` things over `units`; the claim is right for all of them or, as a mean, to its digits."""
    most, mean = -(-whole // units), whole / units
    right = agrees(claimed, mean)
    counted = f"{whole} {what} / {several(units, over)} = {mean:.4g}"
    uneven = "" if whole % units == 0 else f"; they do not divide, the fullest has {most}"
    return Outcome(
        status=held(right),
        claim=f"{shown(claimed)} {what} a {one}",
        truth=f"{mean:.4g} {what} a {one}",
        sentence=f"{counted}{uneven}{'' if right else f', not {shown(claimed)}'}.",
        arithmetic=(counted,),
        numbers={"mean": mean, "most": most},
    )


COUNTS = (
    Check(id="modules", title="Modules", judge=modules, claims=("modules",)),
    Check(id="experts_per_gpu", title="Experts a GPU", judge=experts_per_gpu, claims=("experts_per_gpu",)),
    Check(
        id="layers_per_stage", title="Layers a stage", judge=layers_per_stage, claims=("layers_per_stage",)
    ),
    Check(
        id="sequences_per_replica",
        title="Sequences a replica",
        judge=sequences_per_replica,
        claims=("sequences_per_replica",),
    ),
)
