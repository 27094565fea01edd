"""Checks of GPUs: of the strategies, of the document's map, of replicas and spares."""

from collections.abc import Iterator

from shardwright.audit.check import Check, Outcome, held
from shardwright.audit.placing import gpus_of, several
from shardwright.audit.reading import CANONICAL, canonical
from shardwright.audit.subject import Subject
from shardwright.errors import InputError
from shardwright.layout.notation import format_layout, is_canonical, parse_layout
from shardwright.layout.readings import Reading, readings
from shardwright.layout.stated import parse_stated
from shardwright.plan.claims import StrategyClaim


def gpu_count(subject: Subject) -> Iterator[Outcome]:
    """The GPUs claimed are those of some reading that keeps all stated degrees."""
    claimed = subject.claims.gpus or 0
    yield _counted(claimed, subject.readings, subject.stated.text)


def strategies(subject: Subject) -> Iterator[Outcome]:
    """Every strategy spoken of takes the GPUs said, by some reading; the same reading of the current one."""
    has_experts = subject.deployment.model.experts is not None
    for said in subject.claims.strategies:
        found = _readings(said, has_experts)
        outcome = _counted(said.gpus, found, said.layout)
        by_rule = next((row.rule for row in found if row.gpus == said.gpus), None)
        same = next(
            (row for row in subject.readings if row.rule == by_rule and row.gpus != subject.claims.gpus), None
        )
        sentence, numbers = outcome.sentence, dict(outcome.numbers)
        if same is not None and said.layout != subject.stated.text:
            sentence += f" By the same count {subject.stated.text} takes {same.gpus}."
            numbers["current_by_same_rule"] = same.gpus
        yield Outcome(
            status=outcome.status,
            claim=outcome.claim,
            truth=outcome.truth,
            sentence=sentence,
            arithmetic=outcome.arithmetic,
            numbers=numbers,
            suffix=said.layout,
        )


def _counted(claimed: int, found: tuple[Reading, ...], text: str) -> Outcome:
    by = [reading for reading in found if reading.gpus == claimed]
    right = [reading for reading in by if not reading.contradicts]
    counts = ", ".join(f"{row.gpus} ({row.canonical})" for row in found)
    if right and right[0].rule == CANONICAL:
        sentence = f"{text} takes {claimed:,} GPUs."
    elif right:
        sentence = f"{text} takes {claimed:,} GPUs when read as {right[0].canonical}: {right[0].sentence}."
    elif by:
        sentence = f"{text} takes {claimed:,} GPUs only if {by[0].contradicts}: {by[0].sentence}."
    else:
        sentence = f"No reading of {text} takes {claimed:,} GPUs; its readings take {counts}."
    return Outcome(
        status=held(bool(right)),
        claim=f"{claimed:,} GPUs",
        truth=", ".join(f"{count:,}" for count in sorted({row.gpus for row in found})) + " GPUs",
        sentence=sentence,
        arithmetic=tuple(f"{row.canonical}: {row.sentence}" for row in right or by or found),
        numbers={"claimed": claimed, "readings": len(found)},
        decisive=not right,
    )


def _readings(said: StrategyClaim, has_experts: bool) -> tuple[Reading, ...]:
    try:
        if not is_canonical(said.layout):
            return readings(parse_stated(said.layout), has_experts=has_experts)
        layout = parse_layout(said.layout)
    except InputError as error:
        raise InputError("claims.strategies", said.layout, error.allowed) from None
    return (canonical(layout, f"{layout.num_gpus} GPUs"),)


def map_gpus(subject: Subject) -> Iterator[Outcome]:
    """The map gives each GPU one role, within the cluster, and uses as many as claimed."""
    given, available = subject.claims.gpu_map, subject.deployment.cluster.num_gpus
    assert given is not None
    every = [gpu for stage in given.attention for gpu in stage] + list(given.experts)
    mapped, claimed = sorted(set(every)), subject.claims.gpus or 0
    twice = len(every) - len(mapped)
    outside = [gpu for gpu in mapped if gpu >= available]
    faults = [f"{twice} GPUs have two roles"] if twice else []
    faults += [f"GPU {outside[0]} is not among the cluster's {available}"] if outside else []
    faults += [f"{claimed} GPUs are claimed"] if len(mapped) != claimed else []
    sizes = " + ".join(str(len(stage)) for stage in (*given.attention, given.experts) if stage)
    counted = f"{sizes} = {len(every)} roles on {len(mapped)} GPUs"
    yield Outcome(
        status=held(not faults),
        claim=f"a map of {gpus_of(mapped)}, {claimed} GPUs",
        truth=f"{len(mapped)} GPUs",
        sentence=f"The map assigns {counted}"
        + (f", but {'; '.join(faults)}." if faults else ", as claimed."),
        arithmetic=(counted,),
        numbers={"mapped": len(mapped), "claimed": claimed},
        decisive=True,
    )


def map_layout(subject: Subject) -> Iterator[Outcome]:
    """The map is one copy of the layout that the declared GPUs mean."""
    mapped, layout = subject.map_layout, subject.the_layout
    one = layout.model_copy(update={"copies": 1})
    if mapped is None:
        yield Outcome(
            status="contradicted",
            claim="the map of GPUs",
            truth="no layout",
            sentence="The stages of the map are not alike, or TP does not divide them: it is no layout.",
        )
        return
    name = format_layout(mapped)
    elsewhere = [row for row in subject.readings if row.layout.model_copy(update={"copies": 1}) == mapped]
    right = mapped == one
    read = "".join(
        f" With its DP it is the reading {row.canonical} of {row.gpus} GPUs."
        for row in elsewhere
        if not right
    )
    yield Outcome(
        status=held(right),
        claim=f"the map of GPUs, which is {name}",
        truth=format_layout(one),
        sentence=f"The map is {name}, {mapped.num_gpus} GPUs a copy; the {subject.declared_gpus} GPUs "
        f"declared mean {format_layout(layout)}, {'the same' if right else 'another layout'}.{read}",
        arithmetic=(f"{name}: {mapped.num_gpus} GPUs", f"{format_layout(layout)}: {layout.num_gpus} GPUs"),
        numbers={"map_gpus": mapped.num_gpus, "layout_gpus": layout.num_gpus},
    )


def replicas(subject: Subject) -> Iterator[Outcome]:
    """Replicas are copies of the model, or ranks that split the batch and share the experts."""
    layout, claimed = subject.the_layout, subject.claims.replicas or 0
    total = layout.dp * layout.copies
    right = claimed in (layout.copies, layout.dp, total) if layout.dp > 1 else claimed == layout.copies
    kind = f"{several(layout.copies, 'copy', 'copies')} of the model"
    if layout.dp > 1:
        kind = (
            f"{layout.dp} attention ranks that split the batch and share one set of experts, in {kind}: "
            "they are no copies that survive each other"
        )
    yield Outcome(
        status=held(right),
        claim=f"{claimed} replicas",
        truth=f"{several(total, 'DP rank')}, {several(layout.copies, 'copy', 'copies')}",
        sentence=f"{format_layout(layout)} has {kind}.",
        arithmetic=(f"dp {layout.dp} x copies {layout.copies} = {total}",),
        numbers={"dp": layout.dp, "copies": layout.copies},
        decisive=True,
    )


def spare_gpus(subject: Subject) -> Iterator[Outcome]:
    """What the layout leaves of the cluster."""
    used, available = subject.the_layout.num_gpus, subject.deployment.cluster.num_gpus
    claimed, truth = subject.claims.spare_gpus or 0, available - used
    counted = f"{available} - {used} = {truth}"
    right = claimed == truth
    yield Outcome(
        status=held(right),
        claim=several(claimed, "spare GPU"),
        truth=several(truth, "spare GPU"),
        sentence=f"{format_layout(subject.the_layout)} leaves {counted} spare GPUs"
        f"{'' if right else f', not {claimed}'}.",
        arithmetic=(counted,),
        numbers={"spare": truth, "used": used, "available": available},
        decisive=claimed > truth,
    )


def replicas_with_spares(subject: Subject) -> Iterator[Outcome]:
    """Replicas of the map, each on GPUs of its own, and the spare GPUs must all fit."""
    given = subject.claims.gpu_map
    assert given is not None
    copy = len({gpu for stage in given.attention for gpu in stage} | set(given.experts))
    count, spare = subject.claims.replicas or 0, subject.claims.spare_gpus or 0
    mapped, available = subject.map_layout, subject.deployment.cluster.num_gpus
    copies = -(-count // mapped.dp) if mapped else count
    used = copies * copy
    left = available - used
    right = left >= spare
    most = max(0, available - spare) // copy if copy else 0
    rest = f"which leaves {left}" if left >= 0 else f"{-left} more than there are"
    counted = f"{copies} x {copy} = {used} of {available} GPUs, {rest}"
    against = f"With {spare} spare GPUs there is room for {most} such copy" + ("." if most == 1 else "s.")
    yield Outcome(
        status=held(right),
        claim=f"{count} replicas and {spare} spare GPUs",
        truth=f"{max(0, left)} spare GPUs with {count} replicas",
        sentence=f"By its map a copy takes {copy} GPUs; {several(count, 'replica')} take {counted}"
        + (", as claimed." if right else f", not {spare}. {against}"),
        arithmetic=(counted, f"({available} - {spare}) / {copy} = {several(most, 'copy', 'copies')}"),
        numbers={"copy_gpus": copy, "used": used, "left": left, "copies_with_spares": most},
        decisive=True,
    )


GPUS = (
    Check(
        id="gpu_count", title="GPUs of the strategy", judge=gpu_count, claims=("gpus",), needs_layout=False
    ),
    Check(
        id="strategy",
        title="GPUs of a strategy spoken of",
        judge=strategies,
        claims=("strategies",),
        needs_layout=False,
    ),
    Check(
        id="map_gpus",
        title="The map of GPUs",
        judge=map_gpus,
        claims=("gpu_map", "gpus"),
        needs_layout=False,
    ),
    Check(id="map_layout", title="The map against the strategy", judge=map_layout, claims=("gpu_map",)),
    Check(id="replicas", title="Replicas", judge=replicas, claims=("replicas",)),
    Check(id="spare_gpus", title="Spare GPUs", judge=spare_gpus, claims=("spare_gpus",)),
    Check(
        id="replicas_with_spares",
        title="Replicas and spare GPUs together",
        judge=replicas_with_spares,
        claims=("replicas", "spare_gpus", "gpu_map"),
        needs_layout=False,
    ),
)
