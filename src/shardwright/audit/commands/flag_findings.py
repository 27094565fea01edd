"""What the flags of a command say wrongly, or in vain."""

from collections.abc import Iterator

from shardwright.audit.commands.record import CommandFinding
from shardwright.audit.commands.subject import CommandSubject
from shardwright.units import format_seconds


def refused(subject: CommandSubject) -> Iterator[CommandFinding]:
    """The degrees break a rule of the engine."""
    verdict = subject.verdict
    if not verdict.accepted:
        broken = [rule.cure for rule in subject.server.dialect.rules if rule.id == verdict.rule]
        near = [f"{verdict.nearest_arguments} is {verdict.nearest}"] if verdict.nearest else []
        cure = "; the nearest legal: ".join(broken + near) if broken else "".join(near)
        yield CommandFinding(
            id=verdict.rule, level="stops", sentence=verdict.sentence, cure=cure, source=verdict.source
        )


def contradictions(subject: CommandSubject) -> Iterator[CommandFinding]:
    """Flags that exclude each other."""
    for row in subject.refusals:
        yield CommandFinding(
            id=row.id, level="stops", sentence=row.sentence, cure=row.cure, source=row.source
        )


def ambiguous(subject: CommandSubject) -> Iterator[CommandFinding]:
    """Shortened names that several flags begin with."""
    for row in subject.arguments.ambiguous:
        yield CommandFinding(
            id="ambiguous-flag",
            level="stops",
            sentence=f"{row.flag} may be {', '.join(row.could_be)}, and the engine stops at it; read here as "
            f"{row.read_as}",
            cure=row.read_as,
            source="Python's argparse, which reads the beginning of a name",
        )


def unknown_flags(subject: CommandSubject) -> Iterator[CommandFinding]:
    """Flags that this version does not have."""
    engine = subject.engine
    for row in subject.arguments.ignored:
        if row.why == "gone":
            yield CommandFinding(
                id="flag-gone",
                level="costs",
                sentence=f"{row.flag} has no effect in {engine.title} {engine.version}",
                cure=row.instead,
            )
        elif row.why == "unknown":
            yield CommandFinding(
                id="flag-unknown",
                level="note",
                sentence=f"{row.flag} is no flag of {engine.title} {engine.version}, which refuses it",
                cure="leave it out, or audit with the version in mind that has it",
            )


def deprecated(subject: CommandSubject) -> Iterator[CommandFinding]:
    """SGLang's older way to say attention DP."""
    row = subject.arguments.stated("dp_attention")
    if row is not None:
        size = subject.arguments.settings.get("replicas", 1)
        yield CommandFinding(
            id="flag-deprecated",
            level="note",
            sentence=f"{row.flag} is deprecated and will be removed after 2026-12-31",
            cure=f"--attn-dp-size {size} instead of --dp-size {size} {row.flag}",
            source=row.source,
        )


def beyond_positions(subject: CommandSubject) -> Iterator[CommandFinding]:
    """A longest sequence that the model has no positions for."""
    wanted, most = subject.arguments.settings.get("max_model_len"), subject.model.max_positions
    if isinstance(wanted, int) and wanted > most:
        yield CommandFinding(
            id="max-len-beyond-model",
            level="stops",
            sentence=f"{wanted:,} tokens are more than the {most:,} positions of {subject.model.name}; "
            f"priced with {most:,}",
            cure=f"at most {most}, or the model's own way to extend them",
            numbers={"wanted": wanted, "positions": most},
        )


def overlap(subject: CommandSubject) -> Iterator[CommandFinding]:
    """Two micro-batches that overlap: what that saves of a step, or costs."""
    row = subject.arguments.stated("overlap")
    if row is None or not subject.arguments.settings.get("overlap"):
        return
    timing = subject.timing
    if timing.step.schedule.order != "overlapped":
        yield CommandFinding(
            id="overlap-in-vain",
            level="costs",
            sentence=f"{row.flag} finds no exchange between attention-DP ranks to hide in this layout",
            cure=f"leave out {row.flag}",
        )
        return
    one, two = (step.step_s for step in timing.tried)
    times = f"a step takes {format_seconds(two)} in two micro-batches, {format_seconds(one)} in one"
    yield CommandFinding(
        id="overlap-costs" if two > one else "overlap-saves",
        level="costs" if two > one else "note",
        sentence=f"{row.flag}: {times} (predicted); each micro-batch reads the weights",
        cure=f"leave out {row.flag} below larger batches" if two > one else "",
        numbers={"one_s": one, "two_s": two},
    )


def not_predicted(subject: CommandSubject) -> Iterator[CommandFinding]:
    """Settings that change the time and are not in the prediction."""
    for name, what in (
        ("eager", "the figures are those with CUDA graphs: without them every kernel's launch is added"),
        ("eplb", "the figures take the routing as stated, with redundant experts and without rebalancing"),
    ):
        row = subject.arguments.stated(name)
        if row is not None and subject.arguments.settings.get(name):
            yield CommandFinding(id=f"{name}-not-predicted", level="note", sentence=f"{row.flag}: {what}")
