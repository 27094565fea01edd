"""Figures in words: how an estimate, a target, a list of GPUs and a family of operations are written."""

from collections.abc import Callable
from dataclasses import dataclass

from shardwright.plan.plan import Figures, TargetCheck
from shardwright.units import GB, Estimate, format_bytes, format_rate, format_seconds, format_share

Form = Callable[[float], str]

MET, UNCERTAIN, MISSED = "met", "met, uncertain", "missed"

UNCERTAIN_MEANS = (
    f"'{UNCERTAIN}': met at the predicted value, but not at the unfavourable end of the interval."
)

FAMILIES = {
    "gemm": "dense matrix products",
    "attention": "attention",
    "experts": "expert matrix products",
    "small": "small kernels",
    "all_reduce": "all-reduce",
    "gather": "all-gather and reduce-scatter",
    "exchange": "dispatch and combine",
    "transfer": "send and receive between stages",
}
"""Family of operations -> as it is read."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A figure that may have a target. unit: of the target as it is stated, in SI."""

    title: str
    figure: Callable[[Figures], Estimate]
    form: Form
    unit: float = 1.0
    limit: str = "at most"

    def target(self, stated: float) -> str:
        """The target as a sentence would say it."""
        return f"{self.limit} {self.form(stated * self.unit)}"


QUANTITIES = {
    "tpot_ms": Quantity(title="TPOT", figure=lambda f: f.tpot_s, form=format_seconds, unit=1e-3),
    "ttft_ms": Quantity(title="TTFT", figure=lambda f: f.ttft_s, form=format_seconds, unit=1e-3),
    "throughput_tokens_per_s": Quantity(
        title="throughput", figure=lambda f: f.throughput_tokens_per_s, form=format_rate, limit="at least"
    ),
    "communication_fraction": Quantity(
        title="communication", figure=lambda f: f.communication_fraction, form=format_share
    ),
    "memory_gb": Quantity(
        title="memory a GPU", figure=lambda f: f.memory_bytes, form=format_bytes, unit=float(GB)
    ),
}
"""Name of a target -> what it is held against."""


def with_interval(estimate: Estimate, form: Form) -> str:
    """The value and its interval, the unit once where all three share it.

    >>> with_interval(Estimate(value=0.0069, low=0.0062, high=0.0078), format_seconds)
    '6.90 ms (6.20-7.80)'
    >>> with_interval(Estimate(value=0.0011, low=0.0009, high=0.0013), format_seconds)
    '1.10 ms (900 us-1.30 ms)'
    """
    texts = [form(end) for end in (estimate.value, estimate.low, estimate.high)]
    value, low, high = texts
    if value == low == high:
        return value
    units = {text.split(" ", 1)[-1] for text in texts}
    if len(units) == 1:
        low, high = (text.split(" ", 1)[0] for text in (low, high))
    return f"{value} ({low}-{high})"


def outcome(check: TargetCheck) -> str:
    """MET, UNCERTAIN or MISSED."""
    if not check.met:
        return MISSED
    return MET if check.probable else UNCERTAIN


def verdict_on(checks: tuple[TargetCheck, ...]) -> str:
    """All targets in one sentence; those that are missed by name, with the word for met left out."""
    if not checks:
        return "no targets stated"
    missed = [QUANTITIES[check.name].title for check in checks if outcome(check) == MISSED]
    if missed:
        return f"{len(missed)} of {len(checks)} targets missed: {', '.join(missed)}"
    unsure = [QUANTITIES[check.name].title for check in checks if outcome(check) == UNCERTAIN]
    doubt = f"; not at the unfavourable end of the interval: {', '.join(unsure)}" if unsure else ""
    every = f"all {len(checks)} targets" if len(checks) > 1 else "the target"
    return f"{every} met at the predicted values{doubt}"


def signed_seconds(seconds: float) -> str:
    """A difference, with its sign.

    >>> signed_seconds(0.0012), signed_seconds(-2e-6)
    ('+1.20 ms', '-2.0 us')
    """
    return f"{'+' if seconds > 0 else '-'}{format_seconds(abs(seconds))}"


def counted(number: int, noun: str) -> str:
    """A count and its noun.

    >>> counted(1, "copy"), counted(1200, "copy"), counted(2, "layout"), counted(2, "batch")
    ('1 copy', '1,200 copies', '2 layouts', '2 batches')
    """
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"
    if noun.endswith("ch"):
        plural = noun + "es"
    return f"{number:,} {noun if number == 1 else plural}"
