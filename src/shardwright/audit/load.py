"""Checks of the load as a whole: latency with throughput, both targets together, idle pipeline stages."""

from collections.abc import Iterator

from shardwright.audit.check import Check, Outcome, held
from shardwright.audit.digits import range_of, shown
from shardwright.audit.floor import counted, weight_floor
from shardwright.audit.placing import several
from shardwright.audit.subject import Subject
from shardwright.layout.notation import format_layout, parse_layout
from shardwright.plan.plan import Plan
from shardwright.units import GB, format_rate, format_seconds, format_share

MS = 1e-3


def latency_throughput(subject: Subject) -> Iterator[Outcome]:
    """Little's law: sequences in flight = tokens/s x time between the tokens of a sequence."""
    workload = subject.deployment.workload
    tpot_s, rate = (subject.claims.tpot_ms or 0.0) * MS, subject.claims.throughput_tokens_per_s or 0.0
    batch, answer = workload.batch, workload.output_tokens
    implied, step_s, in_flight = batch / tpot_s, batch / rate, rate * tpot_s
    possible = range_of(rate)[0] <= batch / (range_of(tpot_s / MS)[0] * MS)
    prompt_s = max(0.0, answer * (batch / rate - tpot_s))
    late = subject.layout is not None and prompt_s > subject.pool.figures.ttft_s.high
    latency, claimed = f"{shown(tpot_s / MS)} ms", format_rate(rate)
    little = f"{batch} sequences / {latency} = {format_rate(implied)}"
    sentence = (
        f"If the latency is the time between two tokens of a sequence, {little}, not {claimed}: that takes "
        f"{format_seconds(step_s)} a step, or {in_flight:,.0f} sequences in flight."
    )
    if possible:
        sentence = (
            f"{little} at most; {claimed} leave {format_seconds(prompt_s)} of a request for its prompt."
        )
    if possible and late:
        sentence += f" The prediction is {format_seconds(subject.pool.figures.ttft_s.value)}."
    whole = batch * answer
    yield Outcome(
        status="unsupported" if possible and late else held(possible),
        claim=f"{latency} and {claimed}",
        truth=f"{format_rate(implied)} at most",
        sentence=sentence,
        arithmetic=(
            little,
            f"{claimed} from {batch} sequences: a token each every {format_seconds(step_s)}",
            f"{claimed} x {latency} = {in_flight:,.0f} sequences in flight",
            f"if the latency is a whole request's: {batch} x {answer} tokens / {latency} = "
            f"{format_rate(whole / tpot_s)}; at {claimed} a request takes {format_seconds(whole / rate)}",
            "if it is the time to the first token, it says nothing of tokens/s; "
            f"at {claimed} the others come every {format_seconds(step_s)}",
        ),
        numbers={
            "implied_tokens_per_s": implied,
            "needed_step_ms": step_s / MS,
            "needed_in_flight": in_flight,
            "prompt_s": prompt_s,
        },
        decisive=True,
    )


def targets_together(subject: Subject) -> Iterator[Outcome]:
    """Whether reading the weights leaves time for the throughput target, at the batch given."""
    deployment, layout, floor = subject.deployment, subject.the_layout, subject.floor
    targets, batch = deployment.targets, deployment.workload.batch
    rate, tpot_s = targets.throughput_tokens_per_s or 0.0, (targets.tpot_ms or 0.0) * MS
    needed_s, name = min(batch / rate, tpot_s), format_layout(layout)
    whole = weight_floor(subject.priced_on, layout, all_experts=True)
    possible = floor.step_s <= needed_s
    ceiling = f"{format_rate(floor.ceiling_tokens_per_s)} at most"
    lines = [
        f"{batch} sequences / {format_rate(rate)} = {format_seconds(batch / rate)} a step",
        f"{batch} sequences / {format_seconds(tpot_s)} = {format_rate(batch / tpot_s)}",
        counted(name, floor, deployment),
        counted(f"{name}, every expert read", whole, deployment),
    ]
    numbers = {
        "needed_step_ms": needed_s / MS,
        "floor_step_ms": floor.step_s / MS,
        "micro_batches": floor.micro_batches,
        "read_gb": floor.read_bytes / GB,
        "ceiling_tokens_per_s": floor.ceiling_tokens_per_s,
        "ceiling_all_experts_tokens_per_s": whole.ceiling_tokens_per_s,
    }
    other = ""
    if isinstance(subject.best_on_same, Plan):
        best = parse_layout(subject.best_on_same.pools[0].layout)
        theirs = weight_floor(deployment, best)
        lines.append(counted(format_layout(best), theirs, deployment))
        numbers["best_ceiling_tokens_per_s"] = theirs.ceiling_tokens_per_s
        other = (
            f" {format_layout(best)} on the same GPUs reads {theirs.reads}: "
            f"{format_rate(theirs.ceiling_tokens_per_s)} at most."
        )
    outcome = "which leaves room" if possible else f"so no kernel meets the target.{other}"
    yield Outcome(
        status=held(possible),
        claim=f"{format_seconds(tpot_s)} and {format_rate(rate)} at batch {batch}",
        truth=ceiling,
        sentence=f"Both targets together need a step of {format_seconds(needed_s)}. To read its weights "
        f"alone takes {name} "
        f"{format_seconds(floor.step_s)}, {floor.reads}: {ceiling}, {outcome}" + ("." if possible else ""),
        arithmetic=tuple(lines),
        numbers=numbers,
        decisive=True,
    )


def pipeline_idle(subject: Subject) -> Iterator[Outcome]:
    """m micro-batches keep at most m of p equal stages busy: the idle share is max(0, 1 - m / p)."""
    stages, stated = subject.the_layout.pp, subject.claims.micro_batches
    if stages == 1:
        return
    assumed = stated or 1
    idle = max(0.0, 1 - assumed / stages)
    formula = f"max(0, 1 - {assumed} / {stages}) = {format_share(idle)}"
    batches = several(assumed, "micro-batch", "micro-batches")
    gpus = subject.the_layout.num_gpus
    wait = f"With {batches} over {stages} stages, {formula} of {gpus} GPUs wait at any time"
    if stated is None:
        predicted = several(subject.pool.schedule.micro_batches, "micro-batch", "micro-batches")
        wait = f"The document states no micro-batches. {wait}; the prediction assumes {predicted}"
    yield Outcome(
        status="unsupported" if stated is None else held(not idle),
        claim="no micro-batches stated" if stated is None else f"{batches} in {stages} stages",
        truth=f"{format_share(idle)} idle with {batches}",
        sentence=f"{wait}.",
        arithmetic=(formula,),
        numbers={"idle": idle, "micro_batches": assumed, "stages": stages},
    )


LOAD = (
    Check(
        id="latency_throughput",
        title="Latency and throughput together",
        judge=latency_throughput,
        claims=("tpot_ms", "throughput_tokens_per_s"),
        needs_layout=False,
    ),
    Check(
        id="targets_together",
        title="Both targets together",
        judge=targets_together,
        targets=("tpot_ms", "throughput_tokens_per_s"),
    ),
    Check(id="pipeline_idle", title="Idle pipeline stages", judge=pipeline_idle),
)
