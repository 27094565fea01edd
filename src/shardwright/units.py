"""Bytes, seconds and rates: reading and printing them, and the Estimate that every prediction is.

Inside the program all is SI: bytes, seconds, FLOP. GB is 10^9 bytes, GiB is 2^30.
"""

import re
from collections.abc import Iterable
from math import erf, inf, log, sqrt

from shardwright.errors import InputError
from shardwright.record import Record

KB, MB, GB, TB = 10**3, 10**6, 10**9, 10**12
KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40

_BYTE_UNITS = {"b": 1, "kb": KB, "mb": MB, "gb": GB, "tb": TB, "kib": KIB, "mib": MIB, "gib": GIB, "tib": TIB}
_BYTES = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?b)?\s*", re.IGNORECASE)


def parse_bytes(text: str | int, *, field: str = "bytes") -> int:
    """'64 GB', '80GiB' or a plain number of bytes -> bytes.

    Raises InputError when the text is neither.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _BYTES.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InputError(field, text, "bytes, such as 64000000000, '64 GB' or '60 GiB'")
    return round(float(match[1]) * _BYTE_UNITS[(match[2] or "b").lower()])


def format_bytes(num_bytes: float) -> str:
    """Bytes in the decimal unit that a data sheet would use: 59.9 GB, 640 MB, 12 B."""
    for unit, size in (("TB", TB), ("GB", GB), ("MB", MB), ("kB", KB)):
        if abs(num_bytes) >= size:
            return f"{_digits(num_bytes / size)} {unit}"
    return f"{num_bytes:.0f} B"


def format_seconds(seconds: float) -> str:
    """Seconds in the unit that reads best: 6.9 ms, 42 us, 1.24 s."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{seconds * 1e9:.0f} ns" if seconds else "0 s"


def format_rate(per_second: float, what: str = "tokens/s") -> str:
    """A rate with thousands separated: 13,640 tokens/s."""
    return f"{per_second:,.0f} {what}" if abs(per_second) >= 100 else f"{_digits(per_second)} {what}"


def format_share(fraction: float) -> str:
    """A fraction as per cent: 0.0312 -> 3.1 %."""
    return f"{fraction * 100:.1f} %"


def format_probability(probability: float) -> str:
    """A probability in whole per cent, never as certainty.

    >>> format_probability(0.973), format_probability(0.9999), format_probability(0.002)
    ('97 %', '> 99 %', '< 1 %')
    """
    if probability > 0.99:
        return "> 99 %"
    return f"{probability * 100:.0f} %" if probability >= 0.01 else "< 1 %"


def _digits(value: float) -> str:
    """Three significant digits, without exponent."""
    magnitude = abs(value)
    return f"{value:.0f}" if magnitude >= 100 else f"{value:.1f}" if magnitude >= 10 else f"{value:.2f}"


QUANTILE_95 = 1.6448536269514722
"""Of the normal distribution."""


class Estimate(Record):
    """A predicted figure: never a measurement.

    value, low, high are in SI units of the figure that holds them; low and high bound a stated
    central interval. `binds` names what sets the value (an operation family, a resource, a rule),
    `basis` what the interval rests on.
    """

    value: float
    low: float
    high: float
    binds: str = ""
    basis: str = ""

    def scaled(self, factor: float) -> "Estimate":
        """The same figure in another unit (factor > 0)."""
        return self.model_copy(
            update={"value": self.value * factor, "low": self.low * factor, "high": self.high * factor}
        )

    def probability_up_to(self, limit: float) -> float:
        """That the figure is at most `limit`, where low and high are its 5 % and 95 % quantiles and each side
        of the value is half of a log-normal; a figure known exactly is or is not."""
        if limit <= 0 or self.value <= 0:
            return float(self.value <= limit)
        end = self.high if limit > self.value else self.low
        width = abs(log(end / self.value)) if end > 0 else inf
        distance = log(limit / self.value)
        if not width:
            return float(distance >= 0)
        return 0.5 * (1 + erf(QUANTILE_95 * distance / width / sqrt(2)))

    @classmethod
    def between(
        cls, value: float, low: float, high: float, *, binds: str = "", basis: str = ""
    ) -> "Estimate":
        """`value` with a multiplicative interval: from value x low to value x high."""
        return cls(value=value, low=value * low, high=value * high, binds=binds, basis=basis)


def total(parts: Iterable[Estimate], *, binds: str = "", basis: str = "") -> Estimate:
    """The sum of figures whose errors are fully correlated: ends add to ends.

    Right within one operation family, where a mis-set constant moves all alike; for independent
    families it is an upper bound of the width.
    """
    rows = list(parts)
    return Estimate(
        value=sum(row.value for row in rows),
        low=sum(row.low for row in rows),
        high=sum(row.high for row in rows),
        binds=binds,
        basis=basis,
    )
