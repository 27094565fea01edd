"""Ratios and shares that follow from other stated figures, held to the digits given."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shardwright.audit.check import Check, Outcome, held
from shardwright.audit.digits import agrees, shown
from shardwright.audit.subject import Subject
from shardwright.units import format_share

SMALLEST = 1e-6
"""A claimed share of less has no ratio to speak of."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A claim that two stated figures give by a formula.

    values: the two figures of a subject. formula: words with {a} and {b} for them; compute: the same in
    numbers. share: stated in per cent, else as a factor.
    """

    id: str
    title: str
    claims: tuple[str, ...]
    targets: tuple[str, ...] = ()
    values: Callable[[Subject], tuple[float, float]]
    formula: str
    compute: Callable[[float, float], float]
    share: bool = False


def _latency(subject: Subject) -> tuple[float, float]:
    return subject.deployment.targets.tpot_ms or 0.0, subject.claims.tpot_ms or 0.0


def _memory(subject: Subject) -> tuple[float, float]:
    return subject.claims.memory_gb or 0.0, subject.limit_gb


RATIOS = (
    Ratio(
        id="latency_gain",
        title="Gain in latency",
        claims=("latency_gain", "tpot_ms"),
        targets=("tpot_ms",),
        values=_latency,
        formula="{a} ms target / {b} ms claimed",
        compute=lambda a, b: a / b,
    ),
    Ratio(
        id="latency_reduction",
        title="Reduction of latency",
        claims=("latency_reduction", "tpot_ms"),
        targets=("tpot_ms",),
        values=_latency,
        formula="1 - {b} ms claimed / {a} ms target",
        compute=lambda a, b: 1 - b / a,
        share=True,
    ),
    Ratio(
        id="throughput_gain",
        title="Gain in throughput",
        claims=("throughput_gain", "throughput_tokens_per_s"),
        targets=("throughput_tokens_per_s",),
        values=lambda s: (
            s.claims.throughput_tokens_per_s or 0.0,
            s.deployment.targets.throughput_tokens_per_s or 0.0,
        ),
        formula="{a} tokens/s claimed / {b} tokens/s target",
        compute=lambda a, b: a / b,
    ),
    Ratio(
        id="communication_gain",
        title="Gain in communication share",
        claims=("communication_gain", "communication_fraction"),
        targets=("communication_fraction",),
        values=lambda s: (
            s.deployment.targets.communication_fraction or 0.0,
            s.claims.communication_fraction or 0.0,
        ),
        formula="{a} target / {b} claimed",
        compute=lambda a, b: a / b,
    ),
    Ratio(
        id="memory_utilisation",
        title="Share of memory used",
        claims=("memory_utilisation", "memory_gb"),
        values=_memory,
        formula="{a} GB claimed / {b} GB",
        compute=lambda a, b: a / b,
        share=True,
    ),
    Ratio(
        id="memory_headroom",
        title="Share of memory free",
        claims=("memory_headroom", "memory_gb"),
        values=_memory,
        formula="1 - {a} GB claimed / {b} GB",
        compute=lambda a, b: 1 - a / b,
        share=True,
    ),
    Ratio(
        id="gpu_utilisation",
        title="Share of the GPUs used",
        claims=("gpu_utilisation", "gpus"),
        values=lambda s: (float(s.claims.gpus or 0), float(s.deployment.cluster.num_gpus)),
        formula="{a} GPUs used / {b} GPUs",
        compute=lambda a, b: a / b,
        share=True,
    ),
)


def judge(ratio: Ratio, subject: Subject) -> Iterator[Outcome]:
    """Whether the formula gives the claim, rounded as the claim is."""
    stated = float(getattr(subject.claims, ratio.claims[0]))
    a, b = ratio.values(subject)
    if b < SMALLEST:
        return
    truth = ratio.compute(a, b)
    right = agrees(stated, truth, share=ratio.share)
    stated_as = f"{stated * 100:.3g} %" if ratio.share else f"{shown(stated)} x"
    exact = format_share(truth) if ratio.share else f"{truth:.4g}"
    counted = f"{ratio.formula.format(a=shown(a), b=shown(b))} = {exact}"
    yield Outcome(
        status=held(right),
        claim=stated_as,
        truth=exact,
        sentence=f"{ratio.title}: {counted}, {'as stated' if right else 'not ' + stated_as}.",
        arithmetic=(counted,),
        numbers={"stated": stated, "truth": truth},
    )


def _check(ratio: Ratio) -> Check:
    return Check(
        id=ratio.id,
        title=ratio.title,
        claims=ratio.claims,
        targets=ratio.targets,
        judge=lambda subject: judge(ratio, subject),
        needs_layout=False,
    )


GAINS = tuple(map(_check, RATIOS))
